"""The contract of `spi.Fire`, over the fake that feed tests use and over the real controller."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from edgewhisk.buffer.activations import Activations
from edgewhisk.buffer.artifacts import Artifacts
from edgewhisk.buffer.shelf import Shelf
from edgewhisk.clock import SystemClock
from edgewhisk.controller.actions import Actions
from edgewhisk.controller.controller import Controller
from edgewhisk.controller.entities import Entities
from edgewhisk.controller.resolver import Resolver
from edgewhisk.controller.rules import Rules
from edgewhisk.controller.subjects import Subjects, ensure_key
from edgewhisk.controller.triggers import Triggers
from edgewhisk.dead_letters import DeadLetters
from edgewhisk.entity.arguments import Bound
from edgewhisk.entity.identity import AuthKey, Identity
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.message import ActivationMessage, Outcome, TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.invoker.breaker import Breaker
from edgewhisk.invoker.composition import Composition
from edgewhisk.invoker.guard import Guard
from edgewhisk.invoker.invoker import Invoker
from edgewhisk.invoker.runner import Runner
from edgewhisk.sandbox.pool import Sandboxes
from edgewhisk.settings import Buffer
from edgewhisk.spi import Fire, Query
from tests.fakes.capabilities import NoCapabilities
from tests.fakes.fire import RecordingFire

TRIGGER = parse_name("/guest/t", "_")
GUEST = Identity("guest", "guest", AuthKey("0" * 8 + "-0000-0000-0000-" + "0" * 12, "k" * 64))


async def no_native(_bound: Bound, _messages: Sequence[ActivationMessage]) -> list[Outcome]:
    raise AssertionError("no native action is fired here")


Made = tuple[Fire, Callable[[], list[int]]]  # the implementation, and the numbers it was fired with so far


@asynccontextmanager
async def fake(_folder: Path) -> AsyncIterator[Made]:
    fire = RecordingFire()
    yield fire, lambda: [int(payload[5:-1]) for payload in fire.payloads]


@asynccontextmanager
async def real(folder: Path) -> AsyncIterator[Made]:
    clock, limits = SystemClock(), Limits()
    artifacts = Artifacts.open(folder / "entities")
    store = Activations.open(
        folder / "buffer", Buffer(max_bytes=1 << 26, min_free_bytes=0, commit_window=0.01), clock
    )
    sandboxes = Sandboxes(folder / "cache", clock, NoCapabilities(), slots=2)
    await asyncio.to_thread(sandboxes.prepare, lambda _: None)
    entities = Entities(artifacts)
    resolver = Resolver(entities)
    ensure_key(folder)
    composition = Composition(
        resolver.entitled, lambda: clock.activation_ids(1)[0], clock.now, lambda: clock.timing, 50
    )
    runner = Runner(sandboxes, store, clock, composition, no_native, lambda _: "")
    shelf = Shelf.open(folder / "shelf")
    guard = Guard(store, DeadLetters(shelf, clock), clock, Breaker())
    invoker = Invoker(runner, store, resolver.bound, limits, clock, guard)
    actions = Actions(entities, resolver, sandboxes, limits, clock, lambda _: None)
    code = {"exec": {"kind": "nodejs:20", "code": "function main(p) { return p }"}}
    await actions.put(GUEST, parse_name("/guest/a", "_"), code, overwrite=False)

    async def unfeed(_: FullyQualifiedName) -> None:
        """There are no feeds here."""

    await Triggers(entities, limits, clock, unfeed).put(GUEST, TRIGGER, {}, overwrite=False)
    ends = {"trigger": "/_/t", "action": "/_/a"}
    await Rules(entities, resolver, limits, clock).put(
        GUEST, parse_name("/guest/r", "_"), ends, overwrite=False
    )

    def fired() -> list[int]:
        newest_first = store.list(Query("guest", limit=200))
        return [record["response"]["result"]["n"] for record in reversed(newest_first)]

    subjects = Subjects(folder, clock)
    yield Controller(entities, resolver, actions, invoker, store, subjects, limits, clock), fired
    await invoker.drain(10)
    await invoker.close()
    await shelf.close()
    sandboxes.close()
    store.close()
    artifacts.close()


Implementation = Callable[[Path], AbstractAsyncContextManager[Made]]


@pytest.fixture(params=[fake, real])
def implementation(request: pytest.FixtureRequest) -> Implementation:
    found: Implementation = request.param
    return found


def event(number: int, *, durable: bool = True) -> TriggerEvent:
    return TriggerEvent(TRIGGER, b'{"n":%d}' % number, 5, durable, f"mqtt:{number}:x")


def test_events_are_started_in_order_and_acknowledged(implementation: Implementation, tmp_path: Path) -> None:
    async def play() -> None:
        async with implementation(tmp_path) as (fire, fired):
            futures = [fire([event(at), event(at + 1, durable=False)]) for at in range(0, 100, 2)]
            async with asyncio.timeout(20):
                await asyncio.gather(*futures)
                while len(await asyncio.to_thread(fired)) < 100:  # noqa: ASYNC110 - a real disk
                    await asyncio.sleep(0.01)
            assert fired() == list(range(100))

    asyncio.run(play())


def test_nothing_fired_is_acknowledged_at_once(implementation: Implementation, tmp_path: Path) -> None:
    async def play() -> None:
        async with implementation(tmp_path) as (fire, _):
            async with asyncio.timeout(5):
                await fire([])
            assert not fire.full()

    asyncio.run(play())


def test_what_is_acknowledged_is_in_the_journal(tmp_path: Path) -> None:
    async def play() -> None:
        async with real(tmp_path) as (fire, _):
            await fire([event(at) for at in range(10)])
            # A second store on the same files sees what a power cut would leave.
            copy = tmp_path / "copy"
            shutil.copytree(tmp_path / "buffer", copy)
            left = Activations.open(copy, Buffer(min_free_bytes=0), SystemClock())
            accepted = {message.payload for message in left.unfinished()}
            recorded = {b'{"n":%d}' % one["response"]["result"]["n"] for one in left.list(Query("guest"))}
            assert accepted | recorded == {b'{"n":%d}' % at for at in range(10)}
            assert left.origins() == [f"mqtt:{at}:x" for at in range(10)]
            left.close()

    asyncio.run(play())
