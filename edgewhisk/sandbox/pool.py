"""The sandboxes of all runtimes: which slot runs which action. Implements `spi.Sandbox`."""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from edgewhisk.entity.action import Action
from edgewhisk.entity.exec import CodeExec, Exec
from edgewhisk.entity.message import Outcome
from edgewhisk.errors import MalformedContent, SandboxError
from edgewhisk.sandbox import outcome
from edgewhisk.sandbox.abi import MOST_CALLS, Given
from edgewhisk.sandbox.engine import Engine
from edgewhisk.sandbox.runtimes import Runtime, installed, kinds
from edgewhisk.sandbox.slot import Image, LoadFailure, Parts, Slot, Trap
from edgewhisk.spi import Call, Clock

LARGEST_RESULT: Final = 1 << 20  # bytes, OpenWhisk's limit
_IMAGES: Final = 64  # loaded actions that are kept; each is about 0.3 MB
_MEGABYTE: Final = 1 << 20


class Sandboxes:
    """All runtimes, their slots and the images of the actions that were used last."""

    def __init__(self, cache: Path, clock: Clock, *, slots: int) -> None:
        """Keep compiled code in `cache`, and at most `slots` idle slots of a runtime."""
        self._clock = clock
        self._slots = slots
        self._engine = Engine(cache)
        self._runtimes = {runtime.kind: runtime for runtime in installed()}
        self.kinds: Mapping[str, str] = kinds(list(self._runtimes.values()))
        self._parts: dict[str, Parts] = {}
        self._lock = threading.Lock()
        self._idle: dict[str, list[Slot]] = {kind: [] for kind in self._runtimes}
        self._images: OrderedDict[object, Image] = OrderedDict()

    def prepare(self, progress: Callable[[str], None]) -> None:
        """Compile or load every guest (blocking); raises `SandboxError`."""
        for kind, runtime in self._runtimes.items():
            if not any(self._engine._cache.glob("*.cwasm")):
                progress(f"compiling {runtime.engine} for this device; later starts load it")
            self._parts[kind] = Parts(self._engine, runtime, lambda: float(self._clock.now()))
            self._put_back(kind, Slot(self._parts[kind]))

    def close(self) -> None:
        """Drop all slots."""
        with self._lock:
            for idle in self._idle.values():
                idle.clear()
        self._engine.close()

    def families(self) -> dict[str, list[dict[str, Any]]]:
        """Kinds for the info document, as wskdeploy reads it."""
        found: dict[str, list[dict[str, Any]]] = {}
        for runtime in self._runtimes.values():
            names = [name for name in (runtime.kind, *runtime.aliases) if not name.endswith(":default")]
            found.setdefault(runtime.family, []).extend(
                {
                    "kind": name,
                    "image": runtime.engine,
                    "deprecated": False,
                    "default": name == runtime.kind,
                    "attached": False,
                    "requireMain": False,
                }
                for name in names
            )
        return found

    def engine(self, kind: str) -> str:
        """See `spi.Sandbox`."""
        return f"{self._runtimes[kind].engine} in wasmtime {self._engine.version}"

    def check(self, code: Exec) -> None:
        """See `spi.Sandbox`."""
        if not isinstance(code, CodeExec):
            return
        if code.binary:
            raise MalformedContent(
                "archives (zip actions) cannot be run yet; send the source of the action as text"
            )
        pattern = self._runtimes[code.kind].main_pattern
        if code.main is not None and not re.fullmatch(pattern, code.main):
            raise MalformedContent(f"'main' must name a function, not {code.main!r}")

    def run(self, action: Action, calls: Sequence[Call]) -> list[Outcome]:
        """See `spi.Sandbox`."""
        outcomes: list[Outcome] = []
        while len(outcomes) < len(calls):
            rest = calls[len(outcomes) : len(outcomes) + MOST_CALLS]
            outcomes += self._attempt(action, rest)
        return outcomes

    def _attempt(self, action: Action, calls: Sequence[Call]) -> list[Outcome]:
        """Outcomes of at least the first call."""
        executable = action.exec
        if not isinstance(executable, CodeExec):
            raise SandboxError(f"{action.name} has no code to run")
        slot = self._take(executable.kind, action.revision)
        started = self._clock.now()
        try:
            image = self._image(slot, action, executable)
        except (LoadFailure, Trap) as failure:
            broken = self._load_failed(failure, action, started)
            if not isinstance(failure, Trap):
                self._put_back(executable.kind, slot)
            return [broken] * len(calls)
        if slot.revision != action.revision:
            slot.attach(action.revision, image, action.limits.memory)
        init = max(1, self._clock.now() - started) if self._clock.now() > started else 0
        return self._run(slot, executable.kind, action, calls, init)

    def _run(self, slot: Slot, kind: str, action: Action, calls: Sequence[Call], init: int) -> list[Outcome]:
        log_limit = action.limits.logs * _MEGABYTE
        given = [
            Given(call.arguments, orjson.dumps(call.context), seed, log_limit)
            for call, seed in zip(calls, _seeds(len(calls)), strict=True)
        ]
        start = self._clock.now()
        try:
            replies = slot.run(given, action.limits.timeout / 1000, LARGEST_RESULT)
        except Trap as trap:
            replies = slot.finished(LARGEST_RESULT)
            end = self._clock.now()
            text = outcome.TIMED_OUT.format(action.limits.timeout) if trap.interrupted else outcome.EXITED
            log = slot.dying_log()
            broken = [outcome.developer_error(text, log, start, end, init=init, timed_out=trap.interrupted)]
        else:
            broken = []
            if not slot.grown:
                self._put_back(kind, slot)
        end = self._clock.now()
        done = [
            outcome.of_reply(
                reply, start, end, largest=LARGEST_RESULT, log_limit=log_limit, init=0 if at else init
            )
            for at, reply in enumerate(replies)
        ]
        return done + broken

    def _image(self, slot: Slot, action: Action, executable: CodeExec) -> Image:
        """The action's image; loads it in `slot` when it is not kept."""
        key = action.revision
        with self._lock:
            image = self._images.get(key)
            if image is not None:
                self._images.move_to_end(key)
                return image
        if not executable.code.strip():
            raise LoadFailure(outcome.NO_CODE)
        runtime = self._runtimes[executable.kind]
        main = executable.main or runtime.main
        source = runtime.wrap(executable.code, main)
        environment = orjson.dumps(action.parameters.environment())
        image = slot.load(source, main, environment, action.limits.timeout / 1000, action.limits.memory)
        with self._lock:
            self._images[key] = image
            if len(self._images) > _IMAGES:
                self._images.popitem(last=False)
        return image

    def _load_failed(self, failure: LoadFailure | Trap, action: Action, start: int) -> Outcome:
        end, text = self._clock.now(), str(failure)
        interrupted = isinstance(failure, Trap) and failure.interrupted
        if interrupted:
            text = outcome.TIMED_OUT.format(action.limits.timeout).replace(".", " during initialization.")
        elif isinstance(failure, Trap):
            text = "The action did not initialize and exited unexpectedly."
        return outcome.developer_error(text, b"", start, end, timed_out=interrupted)

    def _take(self, kind: str, revision: object) -> Slot:
        """An idle slot, best one that ran the same action; a new one if there is none."""
        with self._lock:
            idle = self._idle[kind]
            for at in range(len(idle) - 1, -1, -1):
                if idle[at].revision == revision:
                    return idle.pop(at)
            if idle:
                return idle.pop(0)
        return Slot(self._parts[kind])

    def _put_back(self, kind: str, slot: Slot) -> None:
        with self._lock:
            if len(self._idle[kind]) < self._slots:
                self._idle[kind].append(slot)


def _seeds(count: int) -> Iterable[int]:
    text = os.urandom(8 * count)
    return (int.from_bytes(text[at : at + 8], "little") for at in range(0, 8 * count, 8))


__all__ = ["Runtime", "Sandboxes"]
