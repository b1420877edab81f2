"""Runs the actions of a component guest, in one of two ways.

Restored: live slots whose memory is put back after each call. Fresh: a new instance for each call,
which needs nothing of the kernel but takes milliseconds; the way back when the self-test fails, for
actions whose loading needs more memory than a slot has in reserve, and the oracle of the tests.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from edgewhisk import jsontext
from edgewhisk.base.recent import Recent
from edgewhisk.entity.action import Action
from edgewhisk.entity.exec import CodeExec
from edgewhisk.entity.invocation.call import ActionCall, CallBatch
from edgewhisk.entity.invocation.message import LogLine, Outcome
from edgewhisk.errors import SandboxError
from edgewhisk.sandbox import archive, outcome
from edgewhisk.sandbox.component.component import ComponentParts, ComponentSlot, Live, TextFunction, answer
from edgewhisk.sandbox.engine import COMPONENT_STACK, Engine
from edgewhisk.sandbox.epochs import Epochs
from edgewhisk.sandbox.guest.image import Image, Images
from edgewhisk.sandbox.host.hostcalls import CallContext
from edgewhisk.sandbox.memory.budget import Budget
from edgewhisk.sandbox.memory.creator import Creator
from edgewhisk.sandbox.memory.linear import PAGE, faults
from edgewhisk.sandbox.memory.restorer import NOTHING, Base
from edgewhisk.sandbox.outcome import LoadFailure, Starved, Trap, with_refusals
from edgewhisk.sandbox.runtimes import Runtime
from edgewhisk.spi import Answer, Asker, Capabilities, Clock

_log = logging.getLogger(__name__)

RESERVE: Final = 32 << 20  # bytes of heap that calls have before the memory grows and the slot is lost
_SPARED: Final = 24 << 20  # bytes that a guest starts with: most of them are the base's, seen by all
_LARGE: Final = 1024  # actions that are known to need more than a slot has
_MEGABYTE: Final = 1 << 20
_ZERO: Final = bytes(PAGE)
_START: Final = 30.0  # seconds that making the base may take


class Components:
    """Runs the actions of one runtime whose guest is a component."""

    def __init__(
        self,
        cache: Path,
        runtime: Runtime,
        slots: int,
        clock: Clock,
        capabilities: Capabilities,
        progress: Callable[[str], None],
        budget: Budget,
        epochs: Epochs,
    ) -> None:
        """Compile the component if this device has not (blocking); raises `SandboxError`."""
        self.runtime = runtime
        self._slots = slots
        self._clock = clock
        self._capabilities = capabilities
        self._budget = budget
        self.engine = Engine(cache, Creator(budget, spared=_SPARED), epochs, stack=COMPONENT_STACK)
        self._thread = threading.local()
        self._parts = ComponentParts(self.engine, runtime, self._answer)
        self._parts.compile(progress)
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._idle: list[ComponentSlot] = []
        self._live = 0  # slots, idle or busy
        self._images = Images(lambda address: self._the_base.granule(address))
        self._large = Recent[object, bool](_LARGE, _LARGE)  # actions that need more to load than a slot has
        self.problem = ""  # why slots are not restored
        self._base: Base | None = None  # made when the first action wants it
        budget.shed_by(self.shed)

    def run(self, action: Action, calls: CallBatch, *, inline: bool = False) -> list[Outcome]:
        """See `spi.Sandbox`."""
        wanted = list(calls.each())
        outcomes: list[Outcome] = []
        while len(outcomes) < len(wanted) and not (inline and outcomes and outcomes[-1].timed_out):
            rest = wanted[len(outcomes) :]
            outcomes += (
                self.run_fresh(action, rest[:1]) if self._is_fresh(action) else self._attempt(action, rest)
            )
        return outcomes

    def run_fresh(self, action: Action, calls: Sequence[ActionCall]) -> list[Outcome]:
        """The same with a new instance for each call."""
        return [self._run_fresh(action, call) for call in calls]

    def close(self) -> None:
        """Drop all slots."""
        with self._lock:
            self._idle.clear()

    def shed(self) -> None:
        """Drop the idle slots: others need the memory."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._live -= len(idle)

    def forget(self, name: str) -> None:
        """See `Sandboxes.forget`."""
        with self._lock:
            self._images.forget(name)

    def describe(self) -> dict[str, Any]:
        """Counters for `status`."""
        way = "fresh" if self.problem else "restored" if self._base else "not used yet"
        found = {"way": way, "idle_slots": len(self._idle), "images": len(self._images)}
        return {**found, "problem": self.problem} if self.problem else found

    # -- restored ------------------------------------------------------------------------------

    def _is_fresh(self, action: Action) -> bool:
        return bool(self.problem) or action.revision in self._large

    def _attempt(self, action: Action, calls: Sequence[ActionCall]) -> list[Outcome]:
        """Outcomes of at least the first call, or none if the action must be run fresh."""
        started = self._clock.now()
        try:
            self._ensure_base()
            if self.problem:
                return []
            slot = self._take(action.revision, action.limits.timeout / 1000)
        except Trap as trap:
            return [self._load_failed(trap, action, started)]
        try:
            logs: tuple[LogLine, ...] = ()
            init = 0
            if slot.revision != action.revision:
                logs = self._show(slot, action, calls[0])
                init = self._clock.now() - started
            outcomes: list[Outcome] = []
            while len(outcomes) < len(calls) and not slot.spoilt:
                found = self._run_in(slot, action, calls[len(outcomes)], 0 if outcomes else init)
                outcomes.append(self._told(found, slot.live))
        except LoadFailure as failure:
            if str(failure) == outcome.EXHAUSTED:
                self._large.keep(action.revision, True, 1)
                return []
            return [self._load_failed(failure, action, started)]
        except Trap as trap:
            slot.broken = True
            return [self._load_failed(trap, action, started)]
        except BaseException:
            slot.broken = True  # what passes through stopped the guest half-way
            raise
        finally:
            self._put_back(slot)
        if logs:
            outcomes[0] = outcomes[0]._replace(logs=(*logs, *outcomes[0].logs))
        return outcomes

    def _show(self, slot: ComponentSlot, action: Action, call: ActionCall) -> tuple[LogLine, ...]:
        """Have a slot show the action; what it printed if it had to be loaded for that."""
        logs: tuple[LogLine, ...] = ()
        with self._lock:
            image = self._images.find(action.revision)
        if image is None:
            image, logs = self._load(slot, action, call)
        slot.attach(action.revision, image)
        return logs

    def _run_in(self, slot: ComponentSlot, action: Action, call: ActionCall, init: int) -> Outcome:
        """One call in a slot, undone afterwards; a trap spoils the slot."""
        serving = self._serving(action, call)
        slot.live.linear.limit = max(slot.size, action.limits.memory * _MEGABYTE)
        start = self._clock.now()
        slot.restorer.watch()
        try:
            reply = self._call(slot.live, slot.live.run, _text_of(action, call), serving)
        except Trap as trap:
            slot.broken = True
            return self._stopped(trap, action, serving, start, init)
        end = self._clock.now()
        if not slot.spoilt:
            slot.restorer.restore()
        return self._outcome(reply, action, serving, start, end, init)

    def _load(
        self, slot: ComponentSlot, action: Action, call: ActionCall
    ) -> tuple[Image, tuple[LogLine, ...]]:
        """Load the action on the base; its image, and what it printed. Raises `LoadFailure` or `Trap`."""
        slot.attach(None, NOTHING)
        slot.restorer.change()
        linear = slot.live.linear
        linear.limit = slot.size
        logs = self._init(slot.live, action, self._serving(action, call))
        image = self._the_base.difference(linear)
        with self._lock:
            return self._images.keep(action.revision, image), logs

    @property
    def _the_base(self) -> Base:
        if self._base is None:
            raise SandboxError(f"{self.runtime.kind}: {self.problem or 'there is no base image'}")
        return self._base

    def _take(self, revision: object, seconds: float = _START) -> ComponentSlot:
        """An idle slot, best one that shows the action already; a new one if there is none.

        Raises `Trap` if that cannot be made in so many seconds, or is refused memory.
        """
        with self._lock:
            for at in range(len(self._idle) - 1, -1, -1):
                if self._idle[at].revision == revision:
                    return self._idle.pop(at)
            # Showing another action takes 3 ms, a new slot 30 ms once and 1 MB.
            if self._idle and self._live >= self._slots:
                return self._idle.pop(0)
            self._live += 1
        try:
            return ComponentSlot(self._reserved(time.monotonic() + seconds), self._the_base)
        except BaseException:
            with self._lock:
                self._live -= 1
            raise

    def _put_back(self, slot: ComponentSlot) -> None:
        with self._lock:
            if len(self._idle) < self._slots and not slot.spoilt and not self._budget.waiting:
                self._idle.append(slot)
            else:
                self._live -= 1

    def _reserved(self, until: float) -> Live:
        """An instance with room on its heap, made before `until`. Raises `Trap`, `Starved` for one."""
        live = Live(self._parts)
        serving = CallContext(until, lambda: (0, 0), _ask_nothing)
        self._call(live, live.load, jsontext.dumps({"reserve": RESERVE}), serving)
        if live.share.refused:
            raise Starved(self._budget.size)
        return live

    def _answer(self, _store: object, request: str) -> str:
        return answer(self._thread.serving, request)

    def _ensure_base(self) -> None:
        if self._base is not None or self.problem:
            return
        with self._making:
            if self._base is None and not self.problem:
                self._make_base()

    def _make_base(self) -> None:
        """Make what all slots begin with, and see whether this kernel lets us restore it."""
        try:
            live = self._reserved(time.monotonic() + _START)
            view = live.linear.view()
            file = os.memfd_create("edgewhisk-base")
            os.ftruncate(file, live.linear.size)
            for at in range(live.linear.size // PAGE):
                if (data := _page(view, at)) != _ZERO:
                    os.pwrite(file, data, at * PAGE)
            base = Base(file)
            self.problem = self._test(ComponentSlot(live, base), base)
            self._base = base
        except Starved:
            raise
        except (Trap, MemoryError, OSError) as error:
            self.problem = f"{type(error).__name__}: {error}"
        if self.problem:
            _log.warning("%s: calls get a new instance each: %s", self.runtime.kind, self.problem)

    def _test(self, slot: ComponentSlot, base: Base) -> str:
        """What is wrong with restoring here; nothing if it is exact."""
        slot.restorer.watch()
        before = faults()
        slot.live.linear.view()[0] ^= 255
        if faults() == before:
            return "a first write to a page does not count as a fault"
        code = jsontext.dumps({"files": {"m": _TEST}, "entry": "m", "main": "main", "env": {}})
        serving = CallContext(time.monotonic() + _START, lambda: (0, 0), _ask_nothing)
        slot.restorer.restore()
        self._call(slot.live, slot.live.load, code, serving)
        slot.restorer.restore()
        view = slot.live.linear.view()
        wrong = [at for at in slot.live.linear.private() if _page(view, at) != base.page(at)]
        if wrong:
            return f"{len(wrong)} pages were not put back"
        self._live += 1
        self._put_back(slot)
        return ""

    # -- fresh ---------------------------------------------------------------------------------

    def _run_fresh(self, action: Action, call: ActionCall) -> Outcome:
        start = self._clock.now()
        serving = self._serving(action, call)
        live: Live | None = None
        try:
            live = Live(self._parts)
            live.linear.limit = max(live.linear.size, action.limits.memory * _MEGABYTE)
            logs = self._init(live, action, serving)
        except (LoadFailure, Trap) as failure:
            return self._load_failed(failure, action, start, live)
        init = self._clock.now() - start
        try:
            reply = self._call(live, live.run, _text_of(action, call), serving)
        except Trap as trap:
            return self._told(self._stopped(trap, action, serving, start, init), live)
        found = self._outcome(reply, action, serving, start, self._clock.now(), init)
        found = self._told(found, live)
        return found._replace(logs=(*logs, *found.logs))

    # -- both ----------------------------------------------------------------------------------

    def _init(self, live: Live, action: Action, serving: CallContext) -> tuple[LogLine, ...]:
        """Have the guest load the action; what it printed. Raises `LoadFailure` or `Trap`."""
        executable = action.exec
        if not isinstance(executable, CodeExec):
            raise SandboxError(f"{action.name} has no code to run")
        about = self.runtime
        bundle = archive.bundle_of(
            executable, about.layout, about.main, about.main_pattern, action.parameters
        )
        answered = jsontext.loads(self._call(live, live.load, bundle, serving))
        logs = outcome.told_lines(answered["logs"])
        if answered["error"]:
            raise LoadFailure(answered["error"], logs)
        return logs

    def _outcome(
        self, reply: bytes, action: Action, serving: CallContext, start: int, end: int, init: int
    ) -> Outcome:
        found = outcome.of_text(reply, start, end, log_limit=action.limits.logs * _MEGABYTE, init=init)
        return with_refusals([found], serving.refusals)[0]

    def _serving(self, action: Action, call: ActionCall) -> CallContext:
        until = time.monotonic() + action.limits.timeout / 1000
        asker = Asker(action, call.context.get("namespace", ""), until)
        return CallContext(until, lambda: (0, 0), lambda request: self._capabilities.ask(asker, request))

    def _call(self, live: Live, function: TextFunction, text: bytes, serving: CallContext) -> bytes:
        self._thread.serving = serving
        self.engine.epochs.begin()
        try:
            live.deadline(serving.until)
            return function(text)
        finally:
            self.engine.epochs.end()

    def _stopped(self, trap: Trap, action: Action, serving: CallContext, start: int, init: int) -> Outcome:
        text = outcome.stopped(trap, action.limits.timeout)
        end = self._clock.now()
        found = outcome.developer_error(text, b"", start, end, init=init, timed_out=trap.interrupted)
        return with_refusals([found], serving.refusals)[0]

    def _load_failed(
        self, failure: LoadFailure | Trap, action: Action, start: int, live: Live | None = None
    ) -> Outcome:
        interrupted = isinstance(failure, Trap) and failure.interrupted
        text = outcome.load_failed(failure, action.limits.timeout)
        found = outcome.developer_error(text, b"", start, self._clock.now(), timed_out=interrupted)
        printed = failure.logs if isinstance(failure, LoadFailure) else ()
        return self._told(found._replace(logs=(*printed, *found.logs)), live)

    def _told(self, found: Outcome, live: Live | None) -> Outcome:
        """The outcome, which says so if it is for want of memory that others have."""
        if live is None or not live.share.refused:
            return found
        return outcome.starved([found], self._budget.size)[0]


_TEST: Final = "def main(args):\n    return {}\n"


def _ask_nothing(_request: bytes) -> Answer:
    return Answer(b'{"error":"not while loading"}')


def _page(view: memoryview, number: int) -> bytes:
    return bytes(view[number * PAGE : (number + 1) * PAGE])


def _text_of(action: Action, call: ActionCall) -> bytes:
    """A line about the call, then its arguments as they came."""
    about = {
        "context": {f"__OW_{key.upper()}": value for key, value in call.context.items()},
        "seed": int.from_bytes(os.urandom(8), "little") >> 1,
        "log_limit": action.limits.logs * _MEGABYTE,
    }
    return jsontext.dumps(about) + b"\n" + call.arguments
