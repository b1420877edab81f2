"""The sandboxes of all runtimes. Implements `spi.Sandbox`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import wasmtime

from edgewhisk import jsontext
from edgewhisk.entity.action import Action
from edgewhisk.entity.exec import CodeExec, Exec
from edgewhisk.entity.invocation.call import CallBatch
from edgewhisk.entity.invocation.message import BatchResult, Outcome, Status
from edgewhisk.errors import SandboxError, StorageError
from edgewhisk.sandbox import archive
from edgewhisk.sandbox.component.components import Components
from edgewhisk.sandbox.engine import VERSION, Engine
from edgewhisk.sandbox.epochs import Epochs
from edgewhisk.sandbox.guest.guests import Guests
from edgewhisk.sandbox.memory.budget import Budget, usual
from edgewhisk.sandbox.memory.creator import Creator
from edgewhisk.sandbox.module.modules import Modules
from edgewhisk.sandbox.outcome import without_logs
from edgewhisk.sandbox.runtimes import Runtime, installed, kinds
from edgewhisk.spi import Capabilities, Clock


class Host(Protocol):
    """Runs the actions of one runtime."""

    def run(self, action: Action, calls: CallBatch, *, inline: bool = False) -> BatchResult:
        """See `spi.Sandbox`."""
        ...

    def close(self) -> None:
        """Drop what is live."""
        ...

    def forget(self, name: str) -> None:
        """See `Sandboxes.forget`."""
        ...

    def describe(self) -> dict[str, Any]:
        """Counters for `status`."""
        ...


class Sandboxes:
    """All runtimes. Those that are not ready yet are being compiled, or are broken."""

    def __init__(
        self, cache: Path, clock: Clock, capabilities: Capabilities, *, slots: int, memory: int = 0
    ) -> None:
        """Keep compiled code in `cache`, and at most `slots` idle slots of a runtime.

        All together may grow by `memory` bytes; 0: what is `usual` on this machine.
        """
        self._clock = clock
        self._capabilities = capabilities
        self._slots = slots
        self._cache = cache
        self.budget = Budget(memory or usual())
        self.epochs = Epochs()
        self.engine_of_guests = Engine(cache, Creator(self.budget), self.epochs)
        self.runtimes = {runtime.kind: runtime for runtime in installed()}
        self.kinds: Mapping[str, str] = kinds(list(self.runtimes.values()))
        self.hosts: dict[str, Host] = {}
        self.states: dict[str, str] = dict.fromkeys(self.runtimes, "waiting")
        self._compiling: dict[str, float] = {}  # kind -> when that began, monotonic seconds
        self._lock = threading.Lock()
        self._closing = False
        self.on_ready: Callable[[], None] = lambda: None

    def prepare(self, progress: Callable[[str], None]) -> None:
        """Compile or load every runtime (blocking)."""
        self.prepare_first(progress)
        self.prepare_rest(progress)

    def prepare_first(self, progress: Callable[[str], None]) -> None:
        """All but components, which take long to compile (blocking); raises `SandboxError`."""
        for runtime in self._ranked():
            if runtime.form != "component":
                self._prepare(runtime, progress)

    def prepare_rest(self, progress: Callable[[str], None]) -> None:
        """The others (blocking). One that cannot be loaded is told by its state."""
        for runtime in self._ranked():
            if runtime.kind in self.hosts:
                continue
            try:
                self._prepare(runtime, progress)
            except (SandboxError, OSError, MemoryError, wasmtime.WasmtimeError) as error:
                self.states[runtime.kind] = f"broken: {error}"
                progress(f"{runtime.kind} cannot run: {error}")
                self.on_ready()  # what waits for it learns that it will not come

    def _ranked(self) -> list[Runtime]:
        return sorted(self.runtimes.values(), key=lambda runtime: runtime.rank)

    def ready(self, kind: str) -> bool:
        """See `spi.Sandbox`."""
        return self.states.get(self._resolved(kind)) not in ("waiting", "compiling")

    def close(self) -> None:
        """Drop all slots."""
        with self._lock:
            self._closing = True
            for host in self.hosts.values():
                host.close()
        self.epochs.close()

    def forget(self, name: str) -> None:
        """An action ("guest/pkg/a") is gone: what is kept ready for it may go. From any thread."""
        for host in list(self.hosts.values()):
            host.forget(name)

    def describe(self) -> dict[str, Any]:
        """State and counters of each runtime, and of the memory of all, for `status`."""
        runtimes = {
            kind: {"state": state, **(self.hosts[kind].describe() if kind in self.hosts else {})}
            for kind, state in self.states.items()
        }
        for kind, begun in list(self._compiling.items()):
            runtimes[kind]["compiling_seconds"] = round(self._clock.monotonic() - begun, 1)
        return {**runtimes, **self.budget.describe()}

    def families(self) -> dict[str, list[dict[str, Any]]]:
        """Kinds for the info document, as wskdeploy reads it."""
        found: dict[str, list[dict[str, Any]]] = {}
        for runtime in self.runtimes.values():
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
                for name in names or [runtime.kind]
            )
        return found

    def engine(self, kind: str) -> str:
        """See `spi.Sandbox`."""
        engine = self.runtimes[self._resolved(kind)].engine
        return f"{engine} in wasmtime {VERSION}" if engine else f"wasmtime {VERSION}"

    def check(self, code: Exec) -> None:
        """See `spi.Sandbox`."""
        if not isinstance(code, CodeExec):
            return
        kind = self._resolved(code.kind)
        runtime, host = self.runtimes[kind], self.hosts.get(kind)
        if isinstance(host, Modules):
            host.check(code)
            return
        if code.binary and archive.is_zip(code.code):
            file, _ = archive.split_main(code.main or runtime.main, code.binary, runtime.layout)
            archive.entry_of(archive.unzip(archive.decode(code.code)), runtime.layout, file)

    def run(self, action: Action, calls: CallBatch, *, inline: bool = False) -> BatchResult:
        """See `spi.Sandbox`."""
        kind = self._resolved(action.exec.kind)
        host = self.hosts.get(kind)
        if host is None:
            return self._failed(f"{kind} cannot run: {self.states.get(kind, 'unknown')}", len(calls.ids))
        try:
            ran = host.run(action, calls, inline=inline)
        except SandboxError as error:  # what is loaded with the first call, and was there at the start
            return self._failed(f"{kind} cannot run: {error}", len(calls.ids))
        try:
            self._capabilities.settle(action)
        except StorageError as error:
            return self._failed(f"the action's state could not be stored: {error}", len(calls.ids))
        return ran if action.limits.logs else without_logs(ran)

    def _resolved(self, kind: str) -> str:
        """The runtime's own kind: an action has the kind that its owner gave, which may be an alias."""
        return self.kinds.get(kind, kind)

    def _failed(self, text: str, count: int) -> list[Outcome]:
        now = self._clock.now()
        return [Outcome(Status.WHISK_ERROR, jsontext.dumps({"error": text}), (), now, now)] * count

    def _prepare(self, runtime: Runtime, progress: Callable[[str], None]) -> None:
        self._compiling[runtime.kind] = self._clock.monotonic()
        self.states[runtime.kind] = "compiling"
        try:
            self._load(runtime, progress)
        finally:
            del self._compiling[runtime.kind]

    def _load(self, runtime: Runtime, progress: Callable[[str], None]) -> None:
        kind, engine = runtime.kind, self.engine_of_guests
        if runtime.form == "module":
            host: Host = Modules(self._cache, self._clock, self._capabilities, self.budget, self.epochs)
        elif runtime.form == "component":
            host = Components(
                self._cache,
                runtime,
                self._slots,
                self._clock,
                self._capabilities,
                progress,
                self.budget,
                self.epochs,
            )
        else:
            engine.announce(runtime.wasm(), runtime.engine, progress)
            host = Guests(engine, runtime, self._slots, self._clock, self._capabilities, self.budget)
        with self._lock:
            if self._closing:
                host.close()
                return
            self.hosts[kind] = host
        self.states[kind] = "ready"
        self.on_ready()
