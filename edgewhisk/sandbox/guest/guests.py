"""The slots of one guest: which of them runs which action, and the images of the actions used last."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from functools import partial
from random import Random
from typing import Any, Final

from edgewhisk import jsontext
from edgewhisk.entity.action import Action
from edgewhisk.entity.exec import CodeExec
from edgewhisk.entity.invocation.call import CallBatch
from edgewhisk.entity.invocation.message import BatchResult, Outcome, UniformResult, outcomes_of
from edgewhisk.errors import SandboxError
from edgewhisk.sandbox import archive, outcome
from edgewhisk.sandbox.engine import Engine
from edgewhisk.sandbox.guest.abi import MOST_CALLS, SEED, Given
from edgewhisk.sandbox.guest.image import Image, Images
from edgewhisk.sandbox.guest.slot import GuestSlot, Parts
from edgewhisk.sandbox.host.hostcalls import CallContext
from edgewhisk.sandbox.memory.budget import Budget
from edgewhisk.sandbox.outcome import LARGEST_RESULT, LoadFailure, Trap, with_refusals
from edgewhisk.sandbox.runtimes import Runtime
from edgewhisk.spi import Answer, Asker, Capabilities, Clock

_MEGABYTE: Final = 1 << 20


class Guests:
    """Runs the actions of one runtime whose guest keeps the contract of `sandboxes/README.md`."""

    def __init__(
        self,
        engine: Engine,
        runtime: Runtime,
        slots: int,
        clock: Clock,
        capabilities: Capabilities,
        budget: Budget,
    ) -> None:
        """Compile or load the guest (blocking) and start a slot; raises `SandboxError`."""
        self.runtime = runtime
        self._slots = slots
        self._clock = clock
        self._capabilities = capabilities
        self.parts = Parts(engine, runtime, lambda: float(clock.now()))
        self._lock = threading.Lock()
        first = GuestSlot(self.parts)
        self._idle: list[GuestSlot] = [first]
        self._images = Images(first.blank.granule)
        self._budget = budget
        budget.shed_by(self.shed)
        # For `Math.random` and the like; what must be secret asks the kernel (`hostcalls`).
        self._chance = Random(os.urandom(32))  # noqa: S311

    def run(self, action: Action, calls: CallBatch, *, inline: bool = False) -> BatchResult:
        """See `spi.Sandbox`."""
        count = len(calls.ids)
        ran = self._attempt(action, calls if count <= MOST_CALLS else calls.part(0, MOST_CALLS), inline)
        if isinstance(ran, UniformResult) and len(ran.results) == count:
            return ran
        outcomes = list(outcomes_of(ran))
        while len(outcomes) < count and not (inline and outcomes[-1].timed_out):
            outcomes += outcomes_of(self._attempt(action, calls.part(len(outcomes), MOST_CALLS), inline))
        return outcomes

    def close(self) -> None:
        """Drop all slots."""
        with self._lock:
            self._idle.clear()

    def shed(self) -> None:
        """Drop the idle slots: others need the memory."""
        with self._lock:
            idle = self._idle  # they go when this does: behind the lock
            self._idle = []
        del idle

    def forget(self, name: str) -> None:
        """See `Sandboxes.forget`."""
        with self._lock:
            self._images.forget(name)

    def describe(self) -> dict[str, Any]:
        """Counters for `status`."""
        return {"idle_slots": len(self._idle), "images": len(self._images)}

    def _attempt(self, action: Action, calls: CallBatch, inline: bool) -> BatchResult:
        """What came of at least the first call."""
        slot = self._take(action.revision)
        if slot.revision == action.revision:
            return self._run(slot, action, calls, 0, inline)
        started, known = self._clock.now(), action.revision in self._images
        try:
            image = self._image(slot, action, calls.context)
        except (LoadFailure, Trap) as failure:
            broken = self._load_failed(failure, slot.log(), action, started)
            if not isinstance(failure, Trap):
                self._put_back(slot)
            return self._told([broken] * len(calls.ids), slot)
        printed = () if known else outcome.lines(slot.log())  # while loading: the first call shows it
        slot.share.begin(time.monotonic() + action.limits.timeout / 1000)
        try:
            slot.attach(action.revision, image, action.limits.memory)
        except Trap as trap:  # what is in the slot is another action's: none of its log
            return self._told([self._load_failed(trap, b"", action, started)] * len(calls.ids), slot)
        ran = self._run(slot, action, calls, self._clock.now() - started, inline)
        if not printed:
            return ran
        first, *others = outcomes_of(ran)
        return [first._replace(logs=(*printed, *first.logs)), *others]

    def _run(self, slot: GuestSlot, action: Action, calls: CallBatch, init: int, inline: bool) -> BatchResult:
        log_limit = action.limits.logs * _MEGABYTE
        count = len(calls.ids)
        given = Given(calls.arguments, _contexts(calls), self._chance.randbytes(SEED * count), log_limit)
        serving = self._serving(slot, action, calls.context)
        serving.inline = inline
        start = self._clock.now()
        broken: list[Outcome] = []
        try:
            slot.run(given, LARGEST_RESULT, serving)
        except Trap as trap:
            replies = slot.finished(LARGEST_RESULT)
            broken = [self._stopped(trap, slot, action, start, 0 if replies else init)]
        else:
            results = None if init or serving.refusals else slot.uniform(count, LARGEST_RESULT)
            plain = results is not None and jsontext.are_plain(results)
            replies = [] if plain else slot.finished(LARGEST_RESULT)
            if not slot.grown:
                self._put_back(slot)
            if results is not None and plain:
                return UniformResult(results, start, self._clock.now())
        end = self._clock.now()
        done = [
            outcome.of_reply(
                reply, start, end, largest=LARGEST_RESULT, log_limit=log_limit, init=0 if at else init
            )
            for at, reply in enumerate(replies)
        ]
        return self._told(with_refusals(done + broken, serving.refusals), slot)

    def _told(self, outcomes: list[Outcome], slot: GuestSlot) -> list[Outcome]:
        """The outcomes of a run, which say so if it is for want of memory that others have."""
        return outcome.starved(outcomes, self._budget.size) if slot.share.refused else outcomes

    def _stopped(self, trap: Trap, slot: GuestSlot, action: Action, start: int, init: int) -> Outcome:
        """The outcome of the call that was stopped."""
        text = outcome.stopped(trap, action.limits.timeout)
        log, end = slot.log(), self._clock.now()
        return outcome.developer_error(text, log, start, end, init=init, timed_out=trap.interrupted)

    def _serving(self, slot: GuestSlot, action: Action, context: Mapping[str, str]) -> CallContext:
        until = time.monotonic() + action.limits.timeout / 1000
        return CallContext(until, slot.view, partial(self._ask, action, context.get("namespace", ""), until))

    def _ask(self, action: Action, namespace: str, until: float, request: bytes) -> Answer:
        """Who asks is put together when somebody does: few actions ever ask."""
        return self._capabilities.ask(Asker(action, namespace, until), request)

    def _image(self, slot: GuestSlot, action: Action, context: Mapping[str, str]) -> Image:
        """The action's image; loads it in `slot` when it is not kept."""
        key = action.revision
        with self._lock:
            image = self._images.find(key)
            if image is not None:
                return image
        executable = action.exec
        if not isinstance(executable, CodeExec):
            raise SandboxError(f"{action.name} has no code to run")
        about = self.runtime
        bundle = archive.bundle_of(
            executable, about.layout, about.main, about.main_pattern, action.parameters
        )
        serving = self._serving(slot, action, context)
        image = slot.load(bundle, action.limits.memory, serving)
        with self._lock:
            return self._images.keep(key, image)

    def _load_failed(self, failure: LoadFailure | Trap, log: bytes, action: Action, start: int) -> Outcome:
        interrupted = isinstance(failure, Trap) and failure.interrupted
        text = outcome.load_failed(failure, action.limits.timeout)
        found = outcome.developer_error(text, log, start, self._clock.now(), timed_out=interrupted)
        printed = failure.logs if isinstance(failure, LoadFailure) else ()
        return found._replace(logs=(*printed, *found.logs))

    def _take(self, revision: object) -> GuestSlot:
        """An idle slot, best one that ran the same action; a new one if there is none."""
        with self._lock:
            idle = self._idle
            for at in range(len(idle) - 1, -1, -1):
                if idle[at].revision == revision:
                    return idle.pop(at)
            if idle:
                return idle.pop(0)
        return GuestSlot(self.parts)

    def _put_back(self, slot: GuestSlot) -> None:
        """Keep a slot for the next call; of those that take much only the one that ran last."""
        with self._lock:
            if slot.large:
                self._idle = [one for one in self._idle if not one.large]
            if len(self._idle) < self._slots and not self._budget.waiting:
                self._idle.append(slot)


def _contexts(calls: CallBatch) -> list[bytes]:
    """The context of each call as JSON, put together: 0.2 us instead of 1 for building and dumping it."""
    rest = jsontext.dumps(calls.context)[1:]
    comma = b"," if calls.context else b""
    return [
        b'{"activation_id":"%b","transaction_id":"%b"%b%b' % (own, own, comma, rest)
        for own in map(str.encode, calls.ids)
    ]
