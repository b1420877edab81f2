"""Commands that could not be delivered yet: on disk, in order for each target, until delivered or expired."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

from edgewhisk.actuator.request import Command
from edgewhisk.errors import EdgeWhiskError, Unavailable, Undelivered
from edgewhisk.spi import Change, Clock, Shelf

_log = logging.getLogger(__name__)

COLLECTION: Final = "outbox"
MOST: Final = 10_000  # commands that wait; beyond, new ones are refused
FIRST_PAUSE: Final = 1.0  # seconds after a failed try
LONGEST_PAUSE: Final = 30.0
PATIENCE: Final = 20.0  # seconds for a target to answer
Deliver = Callable[[Sequence[Command]], list[asyncio.Future[Any]]]


class Kept(NamedTuple):
    """A command that waits."""

    key: str  # rises with time of acceptance
    command: Command
    until: int  # ms since the epoch


class Outbox:
    """All targets. Called on the event loop."""

    def __init__(self, shelf: Shelf, clock: Clock, deliver: Mapping[str, Deliver]) -> None:
        """`deliver` by kind starts deliveries in order.

        Each future gives what the device answered, or raises `Undelivered` for what may work
        later, another `EdgeWhiskError` for what never will.
        """
        self._shelf = shelf
        self._clock = clock
        self._deliver = deliver
        self._waiting: dict[str, deque[Kept]] = {}
        self._wakes: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._last = 0
        self.counts = dict.fromkeys(("delivered", "queued", "late", "expired", "refused"), 0)
        self.last_error = ""
        for key, document in sorted(shelf.read(COLLECTION).items()):
            command = Command(**document["command"])
            self._waiting.setdefault(command.target, deque()).append(Kept(key, command, document["until"]))
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
        started = self._start([command for command, now in zip(commands, free, strict=True) if now])
        if any(not one.done() for one in started):
            await asyncio.wait(started, timeout=PATIENCE)
        left = iter(started)
        kept: list[asyncio.Future[None]] = []
        results: list[dict[str, Any] | EdgeWhiskError] = []
        for command, now in zip(commands, free, strict=True):
            found = _outcome(next(left)) if now else self._behind(command)
            if isinstance(found, Undelivered):
                results.append(self._keep(command, found, kept))
            elif isinstance(found, EdgeWhiskError):
                self.counts["refused"] += 1
                results.append(found)
            else:
                self.counts["delivered"] += 1
                results.append(found)
        if kept:
            await asyncio.gather(*kept)
        return results

    def wake(self, target: str) -> None:
        """A target may be there again."""
        if target in self._wakes:
            self._wakes[target].set()

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
        return {"waiting": waiting, "last_error": self.last_error, **self.counts}

    def _behind(self, command: Command) -> Undelivered:
        count = len(self._waiting.get(command.target, ()))
        return Undelivered(f"it is behind {count} others to {command.target} ({self.last_error})")

    def _start(self, commands: Sequence[Command]) -> list[asyncio.Future[Any]]:
        return self._deliver[commands[0].kind](commands) if commands else []

    def _keep(
        self, command: Command, reason: EdgeWhiskError, kept: list[asyncio.Future[None]]
    ) -> dict[str, Any] | EdgeWhiskError:
        if command.target not in self._waiting:
            self.last_error = str(reason)
        if command.expires == 0:
            self.counts["refused"] += 1
            return reason
        if len(self) >= MOST:
            self.counts["refused"] += 1
            return Unavailable(f"{MOST} commands wait already; the newest one is refused ({reason})")
        until = self._clock.now() + int(command.expires * 1000)
        self._last = max(self._last + 1, self._clock.now())
        one = Kept(f"{self._last:016d}", command, until)
        document = {"command": command._asdict(), "until": until}
        kept.append(self._shelf.write([Change(COLLECTION, one.key, document)]))
        self._waiting.setdefault(command.target, deque()).append(one)
        self._serve(command.target)
        self.counts["queued"] += 1
        return {"delivered": False, "reason": str(reason)}

    def _serve(self, target: str) -> None:
        if target not in self._tasks:
            self._wakes[target] = asyncio.Event()
            self._tasks[target] = asyncio.get_running_loop().create_task(self._drain(target))

    async def _drain(self, target: str) -> None:
        """Deliver the commands of one target, the oldest first, until none waits."""
        waiting, wake, pause = self._waiting[target], self._wakes[target], FIRST_PAUSE
        while waiting:
            one = waiting[0]
            if self._clock.now() > one.until:
                self.counts["expired"] += 1
                _log.warning("a command to %s expired before it could be delivered", target)
            else:
                started = self._start([one.command])
                await asyncio.wait(started, timeout=PATIENCE)
                found = _outcome(started[0])
                if isinstance(found, Undelivered):
                    self.last_error = str(found)
                    wake.clear()
                    await _any(wake, pause)
                    pause = min(LONGEST_PAUSE, pause * 2)
                    continue
                if isinstance(found, EdgeWhiskError):
                    self.counts["refused"] += 1
                    self.last_error = str(found)
                    _log.warning("a command to %s was refused: %s", target, found)
                else:
                    self.counts["late"] += 1
                pause = FIRST_PAUSE
            waiting.popleft()
            await self._shelf.write([Change(COLLECTION, one.key, None)])
        del self._waiting[target], self._wakes[target], self._tasks[target]


def one_by_one(deliver: Callable[[Command], Awaitable[Any]]) -> Deliver:
    """Deliveries that wait for each other, for targets that take one command at a time."""
    last: WeakValueDictionary[str, asyncio.Task[Any]] = WeakValueDictionary()

    async def after(before: asyncio.Task[Any] | None, command: Command) -> Any:
        if before is not None:
            await asyncio.wait([before])
        return await deliver(command)

    def start(commands: Sequence[Command]) -> list[asyncio.Future[Any]]:
        tasks: list[asyncio.Future[Any]] = []
        for command in commands:
            task = asyncio.ensure_future(after(last.get(command.target), command))
            last[command.target] = task
            tasks.append(task)
        return tasks

    return start


def _outcome(delivery: asyncio.Future[Any]) -> dict[str, Any] | EdgeWhiskError:
    """What a delivery gave; its error is a value here."""
    if not delivery.done():
        delivery.add_done_callback(_seen)
        return Undelivered(f"no answer within {PATIENCE:g} s")
    error = delivery.exception()
    if error is None:
        found = delivery.result()
        return {"delivered": True, **(found if isinstance(found, dict) else {})}
    if isinstance(error, EdgeWhiskError):
        return error
    if isinstance(error, ConnectionError):
        return Undelivered(str(error))
    raise error


def _seen(delivery: asyncio.Future[Any]) -> None:
    if not delivery.cancelled():
        delivery.exception()


async def _any(wake: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return
