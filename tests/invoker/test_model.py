"""Any course of events over the invoker keeps its invariants (`edgewhisk/invoker/README.md`).

The sandbox, the store and the clock are fakes: slow, raising, out of time, refusing. The gateway's own action
answers late or never, actions change and are deleted, engines are not compiled, and the gateway is killed.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edgewhisk.entity.action import Action
from edgewhisk.entity.activation import Record
from edgewhisk.entity.exec import NATIVE, CodeExec, Exec, SequenceExec
from edgewhisk.entity.invocation.arguments import ResolvedAction, bind
from edgewhisk.entity.invocation.message import (
    ActivationMessage,
    BatchResult,
    LogLine,
    Outcome,
    Status,
    UniformResult,
)
from edgewhisk.entity.limits import ActionLimits, Limits
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.entity.parameters import Parameters
from edgewhisk.entity.records.record_block import RecordBlock
from edgewhisk.entity.version import SemVer
from edgewhisk.errors import StorageError
from edgewhisk.invoker.composition import Composition
from edgewhisk.invoker.execution.executor import Executor
from edgewhisk.invoker.failure.breaker import Breaker
from edgewhisk.invoker.failure.failure_policy import FailurePolicy
from edgewhisk.invoker.invoker import Invoker
from edgewhisk.spi import Committed
from edgewhisk.store.dead_letters import DeadLetters
from tests.fakes.clock import HandClock
from tests.fakes.sandbox import FakeSandbox

MOST = 6  # events that may have run and are not on disk
NAMES = {name: parse_name(f"/guest/{name}", "_") for name in ("a", "p", "s", "native")}
CODES: Mapping[str, Exec] = {
    "a": CodeExec("nodejs:20", ""),
    "p": CodeExec("python:3", ""),
    "s": SequenceExec((NAMES["a"], NAMES["native"])),
    "native": CodeExec(NATIVE, ""),
}
ACTIONS = st.sampled_from(["a", "a", "p", "s", "native"])
MODES = ["echo", "echo", "prints", "raises", "times out", "is slow", "fails"]


class MemoryStore:
    """`accept`, `record` and `begin` of `spi.ActivationStore`; what is written is on disk after `commit`."""

    def __init__(self) -> None:
        self.traces: list[tuple[str, str]] = []  # what was written of which activation, in order
        self.durable: set[tuple[str, str]] = set()
        self.messages: dict[str, ActivationMessage] = {}
        self._waiting: list[tuple[list[tuple[str, str]], Committed]] = []

    def accept(self, messages: Sequence[ActivationMessage], done: Committed, *, urgent: bool) -> None:
        self.messages.update((one.activation_id, one) for one in messages)
        self._write([("accepted", one.activation_id) for one in messages], done)

    def begin(self, activation_ids: Sequence[str], done: Committed) -> None:
        self._write([("begun", one) for one in activation_ids], done)

    def record(
        self,
        records: Sequence[Record],
        done: Committed,
        *,
        urgent: bool,
        origins: Sequence[str] = (),
        block: RecordBlock | None = None,
    ) -> None:
        ids = [one.activation_id for one in records] + (block.gist.ids() if block else [])
        self._write([("recorded", one) for one in ids], done)

    def commit(self, error: StorageError | None) -> None:
        waiting, self._waiting = self._waiting, []
        for written, done in waiting:
            if error is None:
                self.durable.update(written)
            done(error)

    def lose(self) -> None:
        """The gateway is killed: what was not committed is gone."""
        self._waiting.clear()

    def is_safe(self, activation_id: str) -> bool:
        return bool({("accepted", activation_id), ("recorded", activation_id)} & self.durable)

    def unfinished(self) -> list[ActivationMessage]:
        return [
            message
            for own, message in self.messages.items()
            if ("accepted", own) in self.durable and ("recorded", own) not in self.durable
        ]

    def _write(self, written: list[tuple[str, str]], done: Committed) -> None:
        self.traces += written
        self._waiting.append((written, done))


class MemoryShelf:
    """`spi.DocumentStore` for dead letters."""

    def read(self, *_: object) -> dict[str, Any]:
        return {}

    def write(self, _changes: object) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


class Pipeline(RuleBasedStateMachine):
    """One gateway after the other, over one disk."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock, self.store = HandClock(), MemoryStore()
        self.sandbox = FakeSandbox(self.clock)
        self.sandbox.behave = self.behave
        self.modes = dict.fromkeys(("a", "p"), "echo")
        self.native_mode = "answers"
        self.natives: list[tuple[asyncio.Future[BatchResult], Sequence[bytes]]] = []
        self.go = threading.Event()
        self.bounds: dict[FullyQualifiedName, ResolvedAction] = {}
        self.numbers = 0
        self.sent: dict[
            str, tuple[str, str, int, bool]
        ] = {}  # action, trigger, number, whether durable; by id
        self.promises: list[tuple[asyncio.Future[None], list[str]]] = []
        self.answers: dict[str, asyncio.Future[Record]] = {}
        self.faults: list[str] = []
        self.running: Counter[str] = Counter()
        self.patch = mock.patch("edgewhisk.invoker.record.durability.MAX_UNPERSISTED", MOST)
        self.patch.start()
        self.change(0)
        self.start()

    # -- the gateway -----------------------------------------------------------------------------

    def start(self) -> None:
        async def make() -> Invoker:
            clock = self.clock
            composition = Composition(
                lambda name, _: self.bounds.get(name),
                lambda: clock.activation_ids(1)[0],
                clock.now,
                lambda: clock.timing,
                50,
            )
            invoker = Invoker(
                Executor(self.sandbox, clock, lambda _: ""),
                self.store,  # type: ignore[arg-type]
                lambda name, _: self.bounds.get(name),
                composition,
                self.perform,
                Limits(),
                FailurePolicy(clock, Breaker()),
                DeadLetters(MemoryShelf(), clock),
                window=0.001,
            )
            await invoker.resume(self.store.unfinished(), {})
            return invoker

        self.invoker = self.run(make())

    def run(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(what, 20))

    def settle(self) -> None:
        self.run(asyncio.sleep(0.003))

    def behave(self, action: Action, payload: bytes) -> bytes | Outcome:
        here = threading.current_thread() is threading.main_thread()
        key = f"{action.name.name} {payload!r}"
        if here and "ran" in self.inline_runs.get(key, ()):
            self.faults.append(f"{key} was run twice on the loop")
        if here:
            self.inline_runs[key].append("ran")
        mode, now = self.modes[action.name.name], self.clock.now()
        if mode == "raises":
            raise RuntimeError("a fault of ours")
        if mode == "is slow":
            if here:
                self.clock.pass_(0.02)
            else:
                self.go.wait(10)
        if mode == "times out" and here:
            return Outcome(Status.DEVELOPER_ERROR, b"{}", (), now, now, timed_out=True)
        if mode == "fails":
            return Outcome(Status.DEVELOPER_ERROR, b"{}", (), now, now)
        if mode == "prints":
            return Outcome(Status.SUCCESS, payload, (LogLine(now, "stdout", "it is"),), now, now)
        return payload

    def perform(
        self, _bound: ResolvedAction, _namespace: str, payloads: Sequence[bytes]
    ) -> asyncio.Future[BatchResult]:
        if self.native_mode == "raises":
            raise RuntimeError("a fault of ours")
        future: asyncio.Future[BatchResult] = self.loop.create_future()
        if self.native_mode == "answers":
            future.set_result(UniformResult(payloads, self.clock.now(), self.clock.now()))
        else:
            self.natives.append((future, payloads))
        return future

    # -- what happens ----------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        self.inline_runs: defaultdict[str, list[str]] = defaultdict(list)
        for name in ("a", "p", "s"):
            self.fire(name, "t", 1, True)
            self.settle()

    @rule(name=ACTIONS, trigger=st.sampled_from("tu"), count=st.integers(1, 9), durable=st.booleans())
    def fire(self, name: str, trigger: str, count: int, durable: bool) -> None:
        messages = [self.message(name, f"/guest/{trigger}-{name}", durable) for _ in range(count)]

        async def submit() -> None:
            accepted = self.invoker.submit(messages, urgent=False)
            self.promises.append((accepted, [one.activation_id for one in messages if durable]))

        self.run(submit())

    @rule(name=ACTIONS, urgent=st.booleans())
    def call(self, name: str, urgent: bool) -> None:
        message = self.message(name, "", urgent)

        async def run() -> None:
            if urgent:
                accepted = self.invoker.submit([message], urgent=True)
                self.promises.append((accepted, [message.activation_id]))
            else:
                self.answers[message.activation_id] = self.invoker.run(message)

        self.run(run())

    def message(self, name: str, trigger: str, durable: bool) -> ActivationMessage:
        own = self.clock.activation_ids(1)[0]
        self.numbers += 1
        self.sent[own] = (name, trigger, self.numbers, durable)
        payload = b'{"n":%d}' % self.numbers
        return ActivationMessage(
            own, NAMES[name], "guest", "guest", payload, self.clock.now(), trigger, durable=durable
        )

    @rule(error=st.sampled_from([None, None, None, StorageError("no space")]))
    def commit(self, error: StorageError | None) -> None:
        self.store.commit(error)
        self.settle()

    @rule(name=st.sampled_from("ap"), mode=st.sampled_from(MODES))
    def behaves(self, name: str, mode: str) -> None:
        self.modes[name] = mode

    @rule(mode=st.sampled_from(["answers", "answers", "is late", "raises"]))
    def native_behaves(self, mode: str) -> None:
        self.native_mode = mode

    @rule()
    def native_answers(self) -> None:
        natives, self.natives = self.natives, []
        for future, payloads in natives[::-1]:  # the last one first: their records keep their order
            if not future.done():
                future.set_result(UniformResult(payloads, self.clock.now(), self.clock.now()))
        self.settle()

    @rule()
    def slow_ones_end(self) -> None:
        self.go.set()
        self.settle()
        self.go.clear()

    @rule(by=st.integers(1, 3))
    def change(self, by: int) -> None:
        self.numbers += by
        limits = ActionLimits.default(Limits())
        self.bounds = {
            NAMES[name]: bind(
                Action(NAMES[name], code, Parameters(), limits, Parameters(), SemVer(), self.numbers, False),
                (),
                None,
            )
            for name, code in CODES.items()
        }

    @rule(name=st.sampled_from(["a", "p", "native"]))
    def delete(self, name: str) -> None:
        self.change(1)
        del self.bounds[NAMES[name]]

    @rule(compiled=st.booleans())
    def compiles(self, compiled: bool) -> None:
        self.sandbox.uncompiled = set() if compiled else {"python:3"}
        if compiled:
            self.invoker.runtime_ready()

    @rule(seconds=st.sampled_from([0.001, 0.02, 11, 700]))
    def time_passes(self, seconds: float) -> None:
        self.clock.pass_(seconds)
        self.run(asyncio.sleep(0.002))

    @rule()
    def natives_become_late(self) -> None:
        self.run(asyncio.sleep(0.06))

    @rule()
    def is_killed(self) -> None:
        """A new life begins with what is on disk; who was not told sends nothing again here."""
        self.store.lose()
        self.stop()
        safe = {own for own in self.sent if self.store.is_safe(own)}
        self.sent = {own: told for own, told in self.sent.items() if own in safe}
        recorded = {own for kind, own in self.store.durable if kind == "recorded"}
        self.store.traces = [
            trace
            for trace in self.store.traces
            if trace in self.store.durable and trace[1] in safe | recorded
        ]
        self.promises.clear()
        self.answers.clear()
        self.inline_runs.clear()
        self.start()

    def stop(self) -> None:
        self.go.set()
        self.run(self.invoker.close())
        self.store.lose()
        self.go.clear()

    # -- what holds ------------------------------------------------------------------------------

    @invariant()
    def what_was_told_is_safe(self) -> None:
        """I4."""
        for accepted, ids in self.promises:
            if accepted.done() and accepted.exception() is None:
                assert all(map(self.store.is_safe, ids))

    @invariant()
    def no_fault_was_seen(self) -> None:
        """I7."""
        assert not self.faults

    @invariant()
    def order_on_disk_is_order_of_arrival(self) -> None:
        """I3: of the first trace of durable events, its journal entry or record; and of all records.

        Records behind native steps that were late, which are journalled before, come when they can.
        """
        streams: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
        seen: set[str] = set()
        for kind, own in self.store.traces:
            name, trigger, number, durable = self.sent.get(own, ("", "", 0, False))
            if trigger and durable and own not in seen:
                seen.add(own)
                streams["first", name, trigger].append(number)
            if trigger and kind == "recorded" and name in ("a", "p"):
                streams["recorded", name, trigger].append(number)
        for numbers in streams.values():
            assert numbers == sorted(numbers), streams

    @invariant()
    def nothing_is_recorded_twice(self) -> None:
        """I8, as far as it goes before the end."""
        counts = Counter(own for kind, own in self.store.traces if kind == "recorded")
        assert max(counts.values(), default=0) <= 1

    def teardown(self) -> None:
        """I8: in the end each event has its record."""
        try:
            if hasattr(self, "inline_runs"):
                self.end()
        finally:
            self.stop()
            self.patch.stop()
            self.loop.close()

    def end(self) -> None:
        self.modes, self.native_mode = dict.fromkeys(("a", "p"), "echo"), "answers"
        self.change(1)
        self.compiles(True)
        for _ in range(200):
            self.native_answers()
            self.slow_ones_end()
            self.commit(None)
            self.clock.pass_(1)
            recorded = {own for kind, own in self.store.traces if kind == "recorded"}
            if self.sent.keys() <= recorded and all(one.done() for one in self.answers.values()):
                break
            if self.invoker.describe()["held"]:
                self.fire("a", "t", 1, False)  # who looks for what waits lets it go on
        missing = [told for own, told in self.sent.items() if own not in recorded]
        assert not missing, (missing, self.invoker.describe())
        self.what_was_told_is_safe()
        self.order_on_disk_is_order_of_arrival()
        self.nothing_is_recorded_twice()
        assert not self.faults


Pipeline.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestPipeline = Pipeline.TestCase
