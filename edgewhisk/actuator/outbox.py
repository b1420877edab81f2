"""Commands that could not be delivered yet: on disk, in order for each target, until delivered or expired."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from edgewhisk.actuator.lost import Lost
from edgewhisk.actuator.request import Command, Kept
from edgewhisk.actuator.target import Failed, Found, Target, of_error
from edgewhisk.base.wakeable import wakeable_sleep
from edgewhisk.clock.offset import is_known
from edgewhisk.errors import CapabilityError, EdgeWhiskError, NotFound, StorageError, Unavailable, Undelivered
from edgewhisk.spi import Change, Clock, DocumentStore, Moment

_log = logging.getLogger(__name__)

COLLECTION: Final = "outbox"
MAX_WAITING: Final = 10_000  # commands that wait; beyond, new ones are refused
MOST_OF_ONE: Final = 2_500  # of one target: one that is away for long leaves room for the others
MAX_BYTES: Final = 64 << 20  # bytes of all that wait, in memory and on disk
FIRST_PAUSE: Final = 1.0  # seconds after a failed try
LONGEST_PAUSE: Final = 30.0
Told = Callable[[Mapping[int, Found]], None]  # what became of those that were not just delivered, by position


class Outbox:
    """All targets. Called on the event loop."""

    def __init__(
        self, documents: DocumentStore, clock: Clock, targets: Sequence[Target], moment: Moment
    ) -> None:
        """`moment` knows when earlier boots were."""
        self._documents = documents
        self._clock = clock
        self._moment = moment
        self.targets = {target.kind: target for target in targets}
        self._waiting: dict[str, deque[Kept]] = {}
        self._wakes: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._reasons: dict[str, str] = {}  # why a target's commands wait
        self._last = self._bytes = 0
        self.lost = Lost(documents)
        self.counts = dict.fromkeys(("delivered", "queued", "late", "expired", "refused"), 0)
        self.last_error = ""
        for key, document in sorted(documents.read(COLLECTION, self._check_kept).items()):
            one = self._kept(key, document)
            self._waiting.setdefault(one.command.target, deque()).append(one)
            self._bytes += one.size
            self._last = max(self._last, int(key))

    def __len__(self) -> int:
        """Commands that wait."""
        return sum(map(len, self._waiting.values()))

    async def send(self, commands: Sequence[Command]) -> list[dict[str, Any] | EdgeWhiskError]:
        """Deliver commands of one kind now, or keep them; what became of each.

        `{"delivered": True}`, `{"delivered": False, "reason"}` for one that is kept on disk now, or the
        error for one that is neither.
        """
        free = [command.target not in self._waiting for command in commands]
        left = iter(await self._start([command for command, now in zip(commands, free, strict=True) if now]))
        kept: list[asyncio.Future[None]] = []
        results: list[dict[str, Any] | EdgeWhiskError] = []
        for command, now in zip(commands, free, strict=True):
            found = next(left) if now else self._behind(command)
            results.append(self._became(command, found, kept))
        if kept:
            await asyncio.gather(*kept)
        return results

    def send_alike(self, like: Command, payloads: Sequence[bytes], told: Told) -> bool:
        """The same for commands that are `like` but for their data, if that needs no look at each.

        `told`, perhaps before this returns, what became of all but those that were delivered; false, and
        nothing is done, if `send` has to do it: others wait for the target, or it is away.
        """
        if like.target in self._waiting:
            return False
        settle = partial(self._settle, like, payloads, told)
        return self.targets[like.kind].deliver_alike(like, payloads, settle)

    def _settle(self, like: Command, payloads: Sequence[bytes], told: Told, failed: Failed) -> None:
        """Keep what could not be delivered of commands that are `like`."""
        self.counts["delivered"] += len(payloads) - len(failed)
        if not failed:
            told({})
            return
        kept: list[asyncio.Future[None]] = []
        found = {
            at: self._became(like._replace(data=payloads[at]), of_error(error), kept)
            for at, error in sorted(failed.items())
        }

        def stored(done: asyncio.Future[Any]) -> None:
            error = None if done.cancelled() else done.exception()
            if isinstance(error, EdgeWhiskError):  # the disk refused them
                promised = [at for at, one in found.items() if not isinstance(one, EdgeWhiskError)]
                found.update(dict.fromkeys(promised, error))
            told(found)

        asyncio.gather(*kept).add_done_callback(stored)

    def wake(self, target: str) -> None:
        """A target may be there again."""
        if target in self._wakes:
            self._wakes[target].set()

    def retry_now(self) -> None:
        """Try every target again now."""
        for wake in self._wakes.values():
            wake.set()

    async def run(self) -> None:
        """Deliver what waits until cancelled."""
        for target in self._waiting:
            self._serve(target)
        try:
            await asyncio.Event().wait()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            self._tasks.clear()

    def describe(self) -> dict[str, Any]:
        """For `status`."""
        waiting = {target: len(kept) for target, kept in self._waiting.items()}
        held = {"bytes": self._bytes, "lost": len(self.lost), "reasons": dict(self._reasons)}
        held["forgotten"] = self.lost.evicted  # of those that were lost, for want of room on the list
        return {"waiting": waiting, "last_error": self.last_error, **held, **self.counts}

    def rows(self) -> list[dict[str, Any]]:
        """What waits, in order for each target, and what was lost; without what was in the commands."""
        return [
            {"id": one.key, "state": "waiting", "target": target, "told": one.told,
             "reason": self._reasons.get(target, ""), "until": one.due + self._clock.timing.offset}
            for target, kept in self._waiting.items() for one in kept
        ] + self.lost.rows()  # fmt: skip

    async def retry(self, key: str) -> dict[str, Any]:
        """Try what waits now, or once more what was lost; raises `EdgeWhiskError`."""
        for target, kept in self._waiting.items():
            if any(one.key == key for one in kept):
                self.wake(target)
                return {"delivered": False, "reason": "it is tried now, behind those before it"}
        command = self.lost.command(key)
        if command is None:
            raise NotFound(f"there is no command {key} that can be tried again")
        (result,) = await self.send([command])
        if isinstance(result, EdgeWhiskError):
            raise result
        await self._documents.write(self.lost.drop(key))
        return result

    async def drop(self, key: str) -> None:
        """Forget a command, also one that waits; raises `NotFound`."""
        changes = list(self.lost.drop(key))
        for target, kept in self._waiting.items():
            for one in [one for one in kept if one.key == key]:
                kept.remove(one)
                self._bytes -= one.size
                changes.append(Change(COLLECTION, key, None))
                self.wake(target)
        if not changes:
            raise NotFound(f"there is no command {key}")
        await self._documents.write(changes)

    def _behind(self, command: Command) -> Undelivered:
        target = command.target
        count, reason = len(self._waiting.get(target, ())), self._reasons.get(target, "being tried")
        return Undelivered(f"it is behind {count} others to {target} ({reason})")

    async def _start(self, commands: Sequence[Command]) -> Sequence[Found]:
        return await self.targets[commands[0].kind].deliver(commands) if commands else ()

    def _became(self, command: Command, found: Found, kept: list[asyncio.Future[None]]) -> Found:
        """What its sender is told; what may work later is kept."""
        if isinstance(found, Undelivered):
            return self._keep(command, found, kept)
        self.counts["refused" if isinstance(found, EdgeWhiskError) else "delivered"] += 1
        return found

    def _keep(self, command: Command, reason: EdgeWhiskError, kept: list[asyncio.Future[None]]) -> Found:
        target = self.targets[command.kind]
        try:
            target.check(command)  # else it would be kept behind others, or until its target is back
        except EdgeWhiskError as error:
            self.counts["refused"] += 1
            return error
        if command.target not in self._waiting:
            self.last_error = str(reason)
        if command.expires == 0:
            self.counts["refused"] += 1
            return reason
        size = target.size(command)
        if full := self._full(command.target, size):
            self.counts["refused"] += 1
            return Unavailable(f"{full} wait already; the newest command is refused ({reason})")
        if command.target not in self._waiting:
            self._reasons[command.target] = str(reason)
        due, timing = self._clock.up() + int(command.expires * 1000), self._clock.timing
        self._last = max(self._last + 1, self._clock.now())
        one = Kept(f"{self._last:016d}", command, due, size, target.told(command))
        self._bytes += size
        document = {"command": command.document, "boot": [timing.boot, due], "until": due + timing.offset}
        stored = self._documents.write([Change(COLLECTION, one.key, document)])
        stored.add_done_callback(partial(self._stored, one))
        kept.append(stored)
        self._waiting.setdefault(command.target, deque()).append(one)
        self._serve(command.target)
        self.counts["queued"] += 1
        return {"delivered": False, "reason": str(reason)}

    def _stored(self, one: Kept, done: asyncio.Future[None]) -> None:
        """Forget a command that the disk refused: its sender is told, and sends it again."""
        waiting = self._waiting.get(one.command.target, ())
        if done.cancelled() or done.exception() is None or one not in waiting:
            return
        self._waiting[one.command.target].remove(one)
        self._bytes -= one.size
        self.counts["queued"] -= 1
        self.counts["refused"] += 1
        self.wake(one.command.target)

    def _full(self, target: str, size: int) -> str:
        """What there is too much of; "" if there is room."""
        if len(self._waiting.get(target, ())) >= MOST_OF_ONE:
            return f"{MOST_OF_ONE} commands to {target}"
        if len(self) >= MAX_WAITING:
            return f"{MAX_WAITING} commands"
        return f"{MAX_BYTES >> 20} MB of commands" if self._bytes + size > MAX_BYTES else ""

    def _check_kept(self, key: str, document: Mapping[str, Any]) -> None:
        """Raise one of `UNREADABLE` unless this is a kept command."""
        hash(self._kept(key, document).command.target)
        int(key)

    def _kept(self, key: str, document: Mapping[str, Any]) -> Kept:
        command = Command.of(document["command"])
        target = self.targets[command.kind]
        return Kept(key, command, self._due(document), target.size(command), target.told(command))

    def _due(self, document: Mapping[str, Any]) -> int:
        """When a kept command expires in this boot.

        How long the gateway was off is known only if the clock is right now and was, or was told to be,
        when the command was kept; else its time begins anew.
        """
        timing, up = self._clock.timing, self._clock.up()
        boot, due = document.get("boot", ("", 0))
        if boot == timing.boot:
            return int(due)
        until, now = self._moment(boot, due, document["until"]), self._clock.now()
        if until is None or not is_known(now):
            return up + int(document["command"]["expires"] * 1000)
        return up + until - now

    def _serve(self, target: str) -> None:
        if target not in self._tasks:
            self._wakes[target] = asyncio.Event()
            self._tasks[target] = asyncio.get_running_loop().create_task(self._drain(target))

    async def _drain(self, target: str) -> None:
        """Deliver the commands of one target, the oldest first, until none waits."""
        waiting, wake, pause = self._waiting[target], self._wakes[target], FIRST_PAUSE
        while waiting:
            one, found = waiting[0], await self._try(waiting[0])
            if isinstance(found, Undelivered):
                self.last_error = self._reasons[target] = str(found)
                await wakeable_sleep(pause, wake)
                pause = min(LONGEST_PAUSE, pause * 2)
                continue
            pause = FIRST_PAUSE
            if not waiting or waiting[0] is not one:
                continue  # a person dropped it meanwhile
            changes = [Change(COLLECTION, one.key, None)]
            if isinstance(found, EdgeWhiskError):
                changes += self._give_up(one, found)
            else:
                self.counts["late"] += 1
            try:
                await self._documents.write(changes)
            except StorageError as error:  # it is done; after a restart it would be done once more
                self.last_error = str(error)
            if waiting and waiting[0] is one:
                waiting.popleft()
                self._bytes -= one.size
        del self._waiting[target], self._wakes[target], self._tasks[target]
        self._reasons.pop(target, None)

    async def _try(self, one: Kept) -> dict[str, Any] | EdgeWhiskError:
        if self._clock.up() > one.due:
            return Expired(
                f"expired before it could be delivered ({self._reasons.get(one.command.target, '')})"
            )
        (found,) = await self._start([one.command])
        return found

    def _give_up(self, one: Kept, reason: EdgeWhiskError) -> Sequence[Change]:
        """Tell what was promised and will not be done."""
        state = "expired" if isinstance(reason, Expired) else "refused"
        self.counts[state] += 1
        self.last_error = str(reason)
        _log.warning("a command was lost: %s: %s", one.told, reason)
        return self.lost.add(one, state, str(reason), self._clock.now())


class Expired(CapabilityError):
    """Its time was over before its target could be reached."""
