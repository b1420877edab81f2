"""Calls: what a sandbox is given to run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple


class ActionCall(NamedTuple):
    """One run of an action."""

    arguments: bytes  # text of one JSON object
    context: Mapping[str, str]  # `__OW_*` without the prefix, lower case: {"activation_id": ...}


class CallBatch(NamedTuple):
    """Runs of one action for one namespace, in order."""

    arguments: Sequence[bytes]
    ids: Sequence[str]  # their activation ids
    context: Mapping[str, str]  # what they have in common of it: all but `activation_id` and `transaction_id`

    def part(self, first: int, most: int) -> CallBatch:
        """At most `most` of them, from `first` on."""
        wanted = slice(first, first + most)
        return CallBatch(self.arguments[wanted], self.ids[wanted], self.context)

    def each(self) -> Iterator[ActionCall]:
        """One by one."""
        for arguments, own in zip(self.arguments, self.ids, strict=True):
            yield ActionCall(arguments, {"activation_id": own, "transaction_id": own, **self.context})
