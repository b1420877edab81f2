"""Controller, invoker, sandbox and buffer on real parts, without feeds and API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import BufferConfig
from edgewhisk.controller import system
from edgewhisk.controller.actions import Actions
from edgewhisk.controller.auth.subjects import Subjects, ensure_key
from edgewhisk.controller.controller import Controller
from edgewhisk.controller.entities import Entities
from edgewhisk.controller.resolver import Resolver
from edgewhisk.controller.rules import Rules
from edgewhisk.controller.triggers import Triggers
from edgewhisk.entity.identity import AuthKey, Identity
from edgewhisk.entity.invocation.arguments import ResolvedAction
from edgewhisk.entity.invocation.message import BatchResult, Outcome, Status, TriggerEvent
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.invoker.composition import Composition
from edgewhisk.invoker.execution.executor import Executor
from edgewhisk.invoker.failure.breaker import Breaker
from edgewhisk.invoker.failure.failure_policy import FailurePolicy
from edgewhisk.invoker.invoker import Invoker
from edgewhisk.sandbox.pool import Sandboxes
from edgewhisk.spi import Query
from edgewhisk.store.activations.activations import ActivationLog
from edgewhisk.store.dead_letters import DeadLetters
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.store.documents.entity_store import EntityStore
from tests.fakes.capabilities import NoCapabilities
from tests.fakes.sandbox import FakeSandbox
from tests.guests import lend_compiled

TRIGGER = parse_name("/guest/t", "_")
GUEST = Identity("guest", "guest", AuthKey("0" * 8 + "-0000-0000-0000-" + "0" * 12, "k" * 64))
Native = Callable[[Sequence[Mapping[str, Any]]], Awaitable[Sequence[dict[str, Any]]]]


def event(number: int, *, durable: bool = True) -> TriggerEvent:
    return TriggerEvent(TRIGGER, b'{"n":%d}' % number, 5, durable, f"mqtt:{number}:x")


class Stages:
    """The trigger `t` fires the action `a`, which gives back what it gets unless `code` says otherwise."""

    def __init__(
        self,
        folder: Path,
        native: Native | None = None,
        limits: Limits = Limits(),  # noqa: B008 - a value
        *,
        window: float = 0.002,
        clock: SystemClock | None = None,
        sandbox: FakeSandbox | None = None,
    ) -> None:
        """`native` is `/whisk.system/test/act`, which rules and sequences may name.

        `window`: seconds that records wait for company. With a `sandbox` nothing is isolated.
        """
        self.folder = folder
        self.native = native
        self.key_of: Callable[[str], str] = lambda _: ""
        self.clock = clock or SystemClock()
        self._artifacts = EntityStore.open(folder / "entities")
        settings = BufferConfig(max_bytes=1 << 26, min_free_bytes=0, commit_window=0.01)
        self.store = ActivationLog.open(folder / "buffer", settings, self.clock)
        self._close_sandbox: Callable[[], None] = lambda: None
        self.sandbox: FakeSandbox | Sandboxes = sandbox or self._make_sandboxes(folder / "cache")
        entities = Entities(self._artifacts)
        resolver = Resolver(entities)
        ensure_key(folder)
        new_id = lambda: self.clock.activation_ids(1)[0]  # noqa: E731 - what the composition asks for
        composition = Composition(resolver.entitled, new_id, self.clock.now, lambda: self.clock.timing, 50)
        self._shelf = LogDocumentStore.open(folder / "shelf")
        self.invoker = Invoker(
            Executor(self.sandbox, self.clock, lambda namespace: self.key_of(namespace)),
            self.store,
            resolver.bound,
            composition,
            self._act,
            limits,
            FailurePolicy(self.clock, Breaker()),
            DeadLetters(self._shelf, self.clock),
            window=window,
        )
        self.actions = Actions(entities, resolver, self.sandbox, limits, self.clock, lambda _: None)
        self._triggers = Triggers(entities, limits, self.clock, _unfeed)
        self._rules = Rules(entities, resolver, limits, self.clock)
        subjects = Subjects(folder, self.clock)
        self.controller = Controller(
            entities, resolver, self.actions, self.invoker, self.store, subjects, limits, self.clock
        )
        if native is not None:
            offered = [system.SystemAction("test", "act", "", {}, system.each(_refuse))]
            entities.provide(list(system.entities(offered, limits)))

    async def make(self, code: str = "function main(p) { return p }", *sequence: str) -> None:
        """Make action, trigger and rule; with a `sequence` of action names, the rule names that."""
        plain = {"exec": {"kind": "nodejs:20", "code": code}}
        await self.actions.put(GUEST, parse_name("/guest/a", "_"), plain, overwrite=False)
        if sequence:
            composed = {"exec": {"kind": "sequence", "components": list(sequence)}}
            await self.actions.put(GUEST, parse_name("/guest/s", "_"), composed, overwrite=False)
        await self._triggers.put(GUEST, TRIGGER, {}, overwrite=False)
        ends = {"trigger": "/_/t", "action": "/_/s" if sequence else "/_/a"}
        await self._rules.put(GUEST, parse_name("/guest/r", "_"), ends, overwrite=False)

    async def annotate(self, **annotations: object) -> None:
        """Give the action `a` other annotations; its code stays."""
        document = {"annotations": [{"key": key, "value": value} for key, value in annotations.items()]}
        await self.actions.put(GUEST, parse_name("/guest/a", "_"), document, overwrite=True)

    async def annotate_trigger(self, **annotations: object) -> None:
        """Give the trigger annotations."""
        document = {"annotations": [{"key": key, "value": value} for key, value in annotations.items()]}
        await self._triggers.put(GUEST, TRIGGER, document, overwrite=True)

    async def unannotate(self, *keys: str) -> None:
        """Take annotations of the action `a` away."""
        document = {"delAnnotations": list(keys)}
        await self.actions.put(GUEST, parse_name("/guest/a", "_"), document, overwrite=True)

    async def bind(self, **parameters: object) -> None:
        """Give the action `a` other parameters; its code stays."""
        document = {"parameters": [{"key": key, "value": value} for key, value in parameters.items()]}
        await self.actions.put(GUEST, parse_name("/guest/a", "_"), document, overwrite=True)

    def recorded(self, name: str = "a") -> list[dict[str, Any]]:
        """The activations of an action, oldest first."""
        return self.store.list(Query("guest", name, limit=10_000))[::-1]

    def numbers(self, name: str = "a") -> list[int]:
        """What they gave back as `n`."""
        return [record["response"]["result"]["n"] for record in self.recorded(name)]

    async def close(self) -> None:
        await self.invoker.drain(10)
        await self.invoker.close()
        await self._shelf.close()
        self._close_sandbox()
        self.store.close()
        self._artifacts.close()

    def _make_sandboxes(self, cache: Path) -> Sandboxes:
        lend_compiled(cache)
        made = Sandboxes(cache, self.clock, NoCapabilities(), slots=2)
        made.prepare_first(lambda _: None)
        self._close_sandbox = made.close
        return made

    def _act(
        self, _bound: ResolvedAction, _namespace: str, payloads: Sequence[bytes]
    ) -> asyncio.Future[BatchResult]:
        return asyncio.ensure_future(self._perform(payloads))

    async def _perform(self, payloads: Sequence[bytes]) -> list[Outcome]:
        assert self.native is not None
        start = self.clock.now()
        results = await self.native([orjson.loads(payload) for payload in payloads])
        return [Outcome(Status.SUCCESS, orjson.dumps(one), (), start, self.clock.now()) for one in results]


@asynccontextmanager
async def stages(
    folder: Path,
    native: Native | None = None,
    limits: Limits = Limits(),  # noqa: B008 - a value
    **more: Any,
) -> AsyncIterator[Stages]:
    """`more`: see `Stages`."""
    made = Stages(folder, native, limits, **more)
    try:
        yield made
    finally:
        await made.close()


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for what a thread or a disk does; the pause only sets how often we look."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def _unfeed(_: FullyQualifiedName) -> None:
    """There are no feeds here."""


async def _refuse(_caller: Identity, _given: Mapping[str, Any]) -> dict[str, Any]:
    raise AssertionError("the runner is given another way to run it")
