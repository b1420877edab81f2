"""Actions that are WebAssembly modules themselves, from any language; a fresh instance for each call.

A command (`_start`) gets its parameters on stdin and prints its result; a reactor (`ew_call`) trades
JSON through memory. The contract is in `sandboxes/README.md`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any, Final

import wasmtime

from edgewhisk import jsontext
from edgewhisk.base.recent import Recent
from edgewhisk.entity.action import Action, Revision
from edgewhisk.entity.exec import CodeExec
from edgewhisk.entity.invocation.call import ActionCall, CallBatch
from edgewhisk.entity.invocation.message import LogLine, Outcome, Status
from edgewhisk.errors import MalformedContent, SandboxError
from edgewhisk.sandbox import archive, outcome
from edgewhisk.sandbox.engine import Engine
from edgewhisk.sandbox.epochs import Epochs
from edgewhisk.sandbox.host.hostcalls import MODULE, GuestFault, HostCalls
from edgewhisk.sandbox.memory.budget import Budget
from edgewhisk.sandbox.memory.creator import Creator
from edgewhisk.sandbox.memory.linear import Linear
from edgewhisk.sandbox.module import wasi
from edgewhisk.sandbox.module.streams import LONGEST_LINE, Streams
from edgewhisk.sandbox.outcome import Trap
from edgewhisk.sandbox.wasmtime_ffi import Instance, InstanceTemplate, read, write
from edgewhisk.spi import Answer, Asker, Capabilities, Clock

LARGEST_MODULE: Final = 16 << 20  # bytes
_READY: Final = 4  # memories that are kept for the next instances
_KEPT: Final = (32, 32 << 20)  # modules that stay loaded, bytes of all
_MEGABYTE: Final = 1 << 20
_MAGIC: Final = b"\0asm"
_CORE: Final = b"\1\0\0\0"
_REACTOR: Final = {"ew_alloc": (["i32"], ["i32"]), "ew_call": (["i32", "i32"], ["i64"])}
_STREAMS: Final = {1: "stdout", 2: "stderr"}
_LONGEST_ABORT: Final = 1000  # characters of AssemblyScript's message


class Modules:
    """Runs modules: kind `wasm:default`."""

    def __init__(
        self, cache: Path, clock: Clock, capabilities: Capabilities, budget: Budget, epochs: Epochs
    ) -> None:
        """Link what modules may import."""
        self._engine = engine = Engine(cache, Creator(budget, kept=_READY), epochs)
        self._budget = budget
        self._clock = clock
        self._capabilities = capabilities
        self._linker = wasmtime.Linker(engine.wasmtime)
        self._calls = HostCalls(self._linker, lambda: float(clock.now()), {})
        self._wasi = wasi.Wasi(self._calls, lambda: float(clock.now()))
        define = self._calls.functions.define
        define(MODULE, "log", "iii", "", self._log)
        define(MODULE, "context", "", "i", self._context)
        define("env", "abort", "iiii", "", self._abort)
        self._templates = Recent[bytes, InstanceTemplate](*_KEPT)
        self._by_revision = Recent[Revision, InstanceTemplate](*_KEPT)
        self._known = {(wasi.MODULE, name) for name in wasi.SIGNATURES} | {("env", "abort")}
        self._known |= {
            (MODULE, name) for name in ("now", "sleep", "random", "ask", "take", "log", "context")
        }

    def check(self, code: CodeExec) -> None:
        """Compile the module; raises `MalformedContent` with what is wrong with it."""
        self._template(code)

    def close(self) -> None:
        """Forget all modules."""
        self._templates.clear()
        self._by_revision.clear()

    def forget(self, name: str) -> None:
        """See `Sandboxes.forget`. Its module may be another action's, too, and goes when it is not used."""
        self._by_revision.drop_where(lambda revision: revision[0] == name)

    def describe(self) -> dict[str, Any]:
        """Counters for `status`."""
        return {"modules": len(self._templates)}

    def run(self, action: Action, calls: CallBatch, *, inline: bool = False) -> list[Outcome]:
        """See `spi.Sandbox`."""
        executable = action.exec
        if not isinstance(executable, CodeExec):
            raise SandboxError(f"{action.name} has no code to run")
        started = self._clock.now()
        try:
            template = self._by_revision.get(action.revision) or self._known_by(action, executable)
        except MalformedContent as error:  # stored by a version that ran it
            return [
                outcome.developer_error(error.message, b"", started, self._clock.now()) for _ in calls.ids
            ]
        init = self._clock.now() - started
        outcomes: list[Outcome] = []
        for call in calls.each():
            outcomes.append(self._run_one(template, action, call, 0 if outcomes else init, inline=inline))
            if inline and outcomes[-1].timed_out:
                break
        return outcomes

    def _run_one(
        self, template: InstanceTemplate, action: Action, call: ActionCall, init: int, *, inline: bool
    ) -> Outcome:
        start, limits = self._clock.now(), action.limits
        until = time.monotonic() + limits.timeout / 1000
        streams = Streams(call.arguments, limits.logs * _MEGABYTE, self._clock.now)
        share, made = self._engine.creator.open(), self._engine.creator.created()
        command = wasi.WasiCommand(
            until,
            made,
            partial(self._ask, action, call.context.get("namespace", ""), until),
            streams=streams,
            environment=partial(_environment, action, call),
        )
        share.begin(until)
        trap: Trap | None = None
        result: bytes | None = None
        self._engine.epochs.begin(inline=inline)
        self._calls.enter(command)
        instance = template.open(limits.memory * _MEGABYTE, self._engine.epochs.upto(until))
        try:
            result = _perform(instance, made, call.arguments, template.exports)
        except Trap as stopped:
            trap = stopped
        finally:
            template.close(instance)
            self._calls.leave()
            self._engine.epochs.end(inline=inline)
        printed = streams.finish()
        for _, refusal in command.refusals:
            streams.log("stderr", refusal)
        if result is None and (trap is None or command.exit_code is not None):
            trap = None
            result = printed
        found = self._outcome(result, trap, command, start, init, limits.timeout, limits.logs * _MEGABYTE)
        return outcome.starved([found], self._budget.size)[0] if share.refused else found

    def _ask(self, action: Action, namespace: str, until: float, request: bytes) -> Answer:
        """Who asks is put together when somebody does: few actions ever ask."""
        return self._capabilities.ask(Asker(action, namespace, until), request)

    def _outcome(
        self,
        result: bytes | None,
        trap: Trap | None,
        command: wasi.WasiCommand,
        start: int,
        init: int,
        timeout: int,
        log_limit: int,
    ) -> Outcome:
        end = self._clock.now()
        logs = list(command.streams.lines)
        if command.streams.cut:
            logs.append(LogLine(end, "stderr", outcome.CUT.format(log_limit)))
        if trap is not None or result is None:
            timed_out = trap is not None and trap.interrupted
            text = outcome.EXITED if trap is None else outcome.stopped(trap, timeout)
            if trap is not None and not timed_out and not trap.fault:
                logs.append(LogLine(end, "stderr", _reason(trap)))
            logs.append(LogLine(end, "stderr", outcome.LOST))
            error = outcome.error_result(text)
            return Outcome(Status.DEVELOPER_ERROR, error, tuple(logs), start, end, init, timed_out)
        status, shown = outcome.of_printed(result, command.exit_code or 0)
        return Outcome(status, shown, tuple(logs), start, end, init)

    def _known_by(self, action: Action, code: CodeExec) -> InstanceTemplate:
        """The action's module, found without its code from now on."""
        template = self._template(code)
        self._by_revision.keep(action.revision, template, len(code.code))
        return template

    def _template(self, code: CodeExec) -> InstanceTemplate:
        if not code.binary:
            raise MalformedContent(
                "a WebAssembly action's code must be a module as base64; this is text"
                + (" of a module: assemble it first (wat2wasm)" if code.code.lstrip()[:1] == "(" else "")
            )
        wasm = archive.decode(code.code)
        key = hashlib.sha256(wasm).digest()
        found = self._templates.get(key)
        if found is not None:
            self._templates.touch(key)
            return found
        found = self._link(wasm)
        self._templates.keep(key, found, len(wasm))
        return found

    def _link(self, wasm: bytes) -> InstanceTemplate:
        _check_header(wasm)
        try:
            module, _ = self._engine.module(wasm, "the code")
        except SandboxError as error:
            raise MalformedContent(error.message) from error
        self._check_imports(module)
        _check_exports(module)
        try:
            return InstanceTemplate(self._linker, module)
        except wasmtime.WasmtimeError as error:
            raise MalformedContent(f"the module cannot be linked: {_first_line(error)}") from error

    def _check_imports(self, module: wasmtime.Module) -> None:
        for wanted in module.imports:
            if (wanted.module, wanted.name) not in self._known:
                raise MalformedContent(
                    f"the module imports {wanted.module}.{wanted.name}, which is not here: a module may "
                    f"import {wasi.MODULE} (build it for wasm32-wasip1) and {MODULE}"
                )

    def _log(self, values: Any) -> str | None:
        command = self._calls.current
        try:
            text = command.get(values[2] & 0xFFFFFFFF, min(values[4] & 0xFFFFFFFF, LONGEST_LINE))
        except GuestFault:
            return "log: the text is not in the guest's memory"
        command.streams.log(_STREAMS.get(values[0], "stderr"), jsontext.decoded(text))
        return None

    def _context(self, values: Any) -> None:
        command = self._calls.current
        pairs = (entry.decode().split("=", 1) for entry in command.environment)
        command.answer = jsontext.dumps(dict(pairs))
        values[0] = len(command.answer)

    def _abort(self, values: Any) -> str:
        """AssemblyScript's `abort(message, file, line, column)`: UTF-16 behind a size in bytes."""
        command = self._calls.current
        try:
            at = values[0] & 0xFFFFFFFF
            size = int.from_bytes(command.get(at - 4, 4), "little") if at >= 4 else 0
            text = command.get(at, min(size, 2 * _LONGEST_ABORT)).decode("utf-16-le", errors="replace")
        except GuestFault:
            text = ""
        where = f"{values[4] & 0xFFFFFFFF}:{values[6] & 0xFFFFFFFF}"
        return f"abort: {text} (at {where})"


def _perform(instance: Instance, made: Sequence[Linear], arguments: bytes, exports: Set[str]) -> bytes | None:
    """Run a command (None: its result is what it printed) or a reactor. Raises `Trap`."""
    instance.start()
    if "_start" in exports:
        instance.call(b"_start")
        return None
    if "_initialize" in exports:
        instance.call(b"_initialize")
    at = instance.call(b"ew_alloc", len(arguments)) & 0xFFFFFFFF
    (memory,) = made
    if at + len(arguments) > memory.size or not at:
        raise Trap("ew_alloc gave no room for the parameters")
    write(memory.base + at, arguments)
    packed = instance.call(b"ew_call", at, len(arguments))
    at, size = packed >> 32, packed & 0xFFFFFFFF
    if at + size > memory.size:
        raise Trap("ew_call gave a result that is not in memory")
    return read(memory.base + at, min(size, LONGEST_LINE))


def _environment(action: Action, call: ActionCall) -> dict[str, str]:
    """The environment variables of a call."""
    found = {f"__OW_{key.upper()}": value for key, value in call.context.items()}
    return found | {key: _text(value) for key, value in action.parameters.environment().items()}


def _check_header(wasm: bytes) -> None:
    if wasm[:4] != _MAGIC:
        kind = "a zip archive" if wasm[:2] == b"PK" else f"it begins with {wasm[:4]!r}"
        raise MalformedContent(f"the code is no WebAssembly module ({kind}, not \\0asm)")
    if wasm[4:8] != _CORE:
        raise MalformedContent(
            "the code is a WebAssembly component or of another version; this kind runs core modules "
            "(wasm32-wasip1)"
        )
    if len(wasm) > LARGEST_MODULE:
        raise MalformedContent(f"the module has {len(wasm)} bytes; at most {LARGEST_MODULE} go")


def _check_exports(module: wasmtime.Module) -> None:
    exports = {export.name: export.type for export in module.exports}
    if not isinstance(exports.get("memory"), wasmtime.MemoryType):
        raise MalformedContent("the module exports no memory named 'memory'")
    wanted = {"_start": ([], [])} if "_start" in exports else _REACTOR
    for name, (parameters, results) in wanted.items():
        kind = exports.get(name)
        if not isinstance(kind, wasmtime.FuncType):
            raise MalformedContent(
                "the module exports neither _start (a command) nor ew_alloc and ew_call (a reactor)"
            )
        if [str(one) for one in kind.params] != parameters or [str(one) for one in kind.results] != results:
            form = f"({', '.join(parameters)}) -> ({', '.join(results)})"
            raise MalformedContent(f"the module's export {name} must have the type {form}")


def _reason(trap: Trap) -> str:
    """wasmtime's own words, without addresses."""
    lines = [line.strip() for line in str(trap).splitlines() if line.strip()]
    named = [
        line for line in lines if "wasm trap" in line or line.startswith(("abort", "ew_", "ask", "take"))
    ]
    return named[-1] if named else lines[-1] if lines else "trap"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else jsontext.dumps(value).decode()
