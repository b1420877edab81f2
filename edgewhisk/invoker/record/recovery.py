"""What becomes of events that an earlier life accepted and did not finish, and of those that are given up.

A first run leaves no trace before its record. Whatever is run again is marked in the journal before it
begins; so an event in whose run the gateway died more than once is known, and in the end is put aside:
one event must not keep a gateway from ever coming up. A cut of the power is nobody's fault: only runs
that began in this boot count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Final

from edgewhisk.entity.invocation.message import ActivationMessage
from edgewhisk.errors import StorageError
from edgewhisk.invoker.record.recorder import RecordWriter
from edgewhisk.invoker.record.records import Records
from edgewhisk.spi import Lookup, Starts
from edgewhisk.store.dead_letters import DeadLetters, Letter

MOST_STARTS: Final = 3  # runs in which the gateway died
NOT_AGAIN: Final = (
    "The gateway stopped while the action may have been running, and its annotation edge-delivery says "
    "at-most-once: it is not run again."
)
POISON: Final = "The gateway died {} times while the action was running for this event: it is not run again."


class Verdict(Enum):
    """What to do with an event."""

    RUN = "run"
    ALONE = "alone"  # with no other such event beside it, so that the guilty one is found
    NOT_AGAIN = "not again"
    POISON = "poison"


def verdict(starts: Starts, *, once: bool) -> Verdict:
    """`starts`: the marked runs; `once`: the action must never be run twice."""
    if once and starts.ever:
        return Verdict.NOT_AGAIN
    if starts.here >= MOST_STARTS:
        return Verdict.POISON
    return Verdict.ALONE if starts.here else Verdict.RUN


class Recovery:
    """Called on the event loop."""

    def __init__(self, dead: DeadLetters, records: Records, writer: RecordWriter, lookup: Lookup) -> None:
        """`dead` keeps what is given up; each such event has a record, too, which says why."""
        self._dead = dead
        self._records = records
        self._writer = writer
        self._lookup = lookup
        self.counts = Counter[str](dict.fromkeys(("poison", "not_again", "spilt", "unburied"), 0))

    async def sort(
        self, messages: Iterable[ActivationMessage], starts: Mapping[str, Starts]
    ) -> list[tuple[ActivationMessage, bool]]:
        """Of what an earlier life did not finish what is to be run, and whether alone; buries the rest."""
        running: list[tuple[ActivationMessage, bool]] = []
        for message in messages:
            bound = self._lookup(message.action, message.binding)
            begun = starts.get(message.activation_id, Starts())
            found = verdict(begun, once=bound is not None and bound.once)
            if found in (Verdict.RUN, Verdict.ALONE):
                running.append((message, found is Verdict.ALONE))
            elif found is Verdict.NOT_AGAIN:
                await self.bury([message], NOT_AGAIN, "not_again")
            else:
                await self.bury([message], POISON.format(begun.here), "poison")
        return running

    async def bury(self, messages: Sequence[ActivationMessage], reason: str, kind: str) -> None:
        """Put events on the list of dead letters, then record that they are not run.

        Where the disk refuses, they are counted, and those that were journalled stay so.
        """
        try:
            await self._dead.bury([Letter.of(one, reason) for one in messages], rare=kind != "spilt")
        except StorageError:
            self.counts["unburied"] += len(messages)
            return
        self.counts[kind] += len(messages)
        try:
            await self._writer.stored(self._records.failed(messages, reason))
        except StorageError:
            self.counts["unburied"] += len(messages)
