"""What the outbox and the actions know of a kind of target: `targets/` has one file for each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol
from weakref import WeakValueDictionary

from edgewhisk.actuator.request import LARGEST, Command
from edgewhisk.errors import BadRequest, CapabilityError, EdgeWhiskError, Undelivered

_log = logging.getLogger(__name__)

ANSWER_TIMEOUT: Final = 20.0  # seconds for a target to answer
Found = dict[str, Any] | EdgeWhiskError  # what became of a command
Failed = Mapping[int, Exception]  # by position; see `of_error`
DELIVERED: Final[dict[str, Any]] = {"delivered": True}


class Target(Protocol):
    """One kind of target, and its action: `/whisk.system/KIND/ACTION`."""

    kind: ClassVar[str]
    action: ClassVar[str]
    description: ClassVar[str]
    parameters: ClassVar[Mapping[str, str]]

    @classmethod
    def command(cls, given: Mapping[str, Any]) -> Command:
        """What is asked for, however large; raises `BadRequest` naming what is wrong."""
        ...

    @classmethod
    def alike(cls, bound: bytes, payloads: Sequence[bytes]) -> Command | None:
        """The command (without data) that each of `payloads`, texts of JSON objects, is the data of as it is.

        If they are parameters over those that are bound (text of one object); None if they have to be read.
        """
        del bound, payloads
        return None

    @classmethod
    def told(cls, command: Command) -> str:
        """What a command does, in a few words and without secrets."""
        ...

    @classmethod
    def size(cls, command: Command) -> int:
        """Bytes that it takes, about."""
        return len(command.data) + len(str(command.body))

    def check(self, command: Command) -> None:
        """Raise an `EdgeWhiskError` for what can never be delivered, without trying."""
        return

    async def deliver(self, commands: Sequence[Command]) -> Sequence[Found]:
        """Deliver in order, and tell within `ANSWER_TIMEOUT` what became of each.

        `DELIVERED` with what the device answered, `Undelivered` for what may work later, another
        `EdgeWhiskError` for what never will.
        """
        ...

    def deliver_alike(self, like: Command, payloads: Sequence[bytes], told: Callable[[Failed], None]) -> bool:
        """The same for commands that are `like` but for their data; `told` which failed.

        False, and nothing is done, where it cannot begin.
        """
        del like, payloads, told
        return False


def read(target: Target | type[Target], given: Mapping[str, Any]) -> Command:
    """The command; raises `BadRequest` naming what is wrong."""
    try:
        command = target.command(given)
    except UnicodeEncodeError as error:
        text = f"{error.object[error.start : error.end]!r} is half a character"
        raise BadRequest(f"a text cannot be sent as UTF-8: {text}") from None
    size = target.size(command)
    if size > LARGEST:
        raise BadRequest(f"the command has {size} bytes; at most {LARGEST} can be kept")
    return command


class OneByOne(Target, Protocol):
    """A kind whose targets take one command at a time.

    One behind another that has to be tried again has to wait for that.
    """

    _last: WeakValueDictionary[str, asyncio.Task[Any]]  # by target

    def __init__(self) -> None:
        """Nothing is under way."""
        self._last = WeakValueDictionary()

    async def send(self, command: Command) -> dict[str, Any] | None:
        """Deliver one, and give back what the device answered; raises as `deliver` tells."""
        ...

    async def deliver(self, commands: Sequence[Command]) -> list[Found]:
        """See `Target`."""
        tasks: list[asyncio.Task[Any]] = []
        for command in commands:
            before = self._last.get(command.target)
            under_way = before is not None and not before.done()
            task = asyncio.create_task(self._after(before if under_way else None, command))
            self._last[command.target] = task
            tasks.append(task)
        await asyncio.wait(tasks, timeout=ANSWER_TIMEOUT)
        return [_outcome(task) for task in tasks]

    async def _after(self, before: asyncio.Task[Any] | None, command: Command) -> Any:
        if before is not None:
            await asyncio.wait([before])
            if before.cancelled() or isinstance(before.exception(), Undelivered):
                raise Undelivered(f"it is behind another one to {command.target}")
        return await self.send(command)


def _outcome(delivery: asyncio.Task[Any]) -> Found:
    """What a delivery gave; its error is a value here."""
    if not delivery.done():
        delivery.add_done_callback(_seen)
        delivery.cancel()  # or it would be done twice: it is kept, and tried again
        return Undelivered(f"no answer within {ANSWER_TIMEOUT:g} s")
    error = delivery.exception()
    if error is not None:
        return of_error(error)
    found = delivery.result()
    return {**DELIVERED, **found} if isinstance(found, dict) else DELIVERED


def of_error(error: BaseException) -> EdgeWhiskError:
    """What an error in a delivery means."""
    if isinstance(error, EdgeWhiskError):
        return error
    if isinstance(error, ConnectionError | TimeoutError):
        return Undelivered(str(error))
    _log.error("a delivery failed in a way that nobody expected", exc_info=error)
    return CapabilityError(f"it failed: {type(error).__name__}: {error}")


def _seen(delivery: asyncio.Future[Any]) -> None:
    if not delivery.cancelled():
        delivery.exception()
