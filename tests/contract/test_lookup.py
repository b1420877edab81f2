"""The contract of `spi.Lookup`: the invoker asks for each message what its action is by now."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from edgewhisk.controller.entities import Entities
from edgewhisk.controller.resolver import Resolver
from edgewhisk.entity.action import Action
from edgewhisk.entity.exec import CodeExec
from edgewhisk.entity.limits import ActionLimits, Limits
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.entity.package import Package
from edgewhisk.entity.parameters import Parameters
from edgewhisk.entity.version import SemVer
from edgewhisk.spi import Lookup
from edgewhisk.store.documents.entity_store import EntityStore
from tests.contract.suites import Suite, named
from tests.fakes.disk import MemoryDisk

PLAIN, INSIDE = parse_name("/guest/plain", "_"), parse_name("/guest/pkg/a", "_")
PACKAGE, BINDING = (FullyQualifiedName("guest", None, name) for name in ("pkg", "bound"))


def action(name: FullyQualifiedName, **given: int) -> Action:
    limits = ActionLimits.default(Limits())
    return Action(name, CodeExec("nodejs:20", "x"), Parameters.of(given), limits, Parameters(), SemVer(), 0)


def package(name: FullyQualifiedName, binding: FullyQualifiedName | None = None, **given: int) -> Package:
    return Package(name, binding, Parameters.of(given), Parameters(), SemVer(), publish=False, updated=0)


@pytest.fixture
def entities() -> Entities:
    made = Entities(EntityStore.open(Path("/entities"), MemoryDisk()))
    asyncio.run(
        made.write(
            *(("actions", one.name.key, one) for one in (action(PLAIN, a=1), action(INSIDE, a=1))),
            *(
                ("packages", one.name.key, one)
                for one in (package(PACKAGE, a=2, b=2), package(BINDING, PACKAGE, b=3, c=3))
            ),
        )
    )
    return made


SUITE = Suite(Lookup, {Resolver: lambda entities: Resolver(entities).bound})


@pytest.fixture(params=SUITE.classes, ids=named)
def lookup(request: pytest.FixtureRequest, entities: Entities) -> Lookup:
    make: Callable[[Entities], Lookup] = SUITE.implementations[request.param]
    return make(entities)


def arguments(lookup: Lookup, where: FullyQualifiedName, binding: str = "") -> dict[str, int]:
    found = lookup(where, binding)
    assert found is not None
    assert found.action.name == where
    told: dict[str, int] = orjson.loads(found.text)
    return told


def test_what_is_nearer_to_the_code_goes_over_what_is_bound_further_out(lookup: Lookup) -> None:
    assert arguments(lookup, PLAIN) == {"a": 1}
    assert arguments(lookup, INSIDE) == {"a": 1, "b": 2}
    assert arguments(lookup, INSIDE, BINDING.key) == {"a": 1, "b": 3, "c": 3}


def test_it_is_as_it_is_now(lookup: Lookup, entities: Entities) -> None:
    assert arguments(lookup, PLAIN) == {"a": 1}
    asyncio.run(entities.write(("actions", PLAIN.key, action(PLAIN, a=9))))
    assert arguments(lookup, PLAIN) == {"a": 9}
    asyncio.run(entities.write(("packages", PACKAGE.key, package(PACKAGE, b=8))))
    assert arguments(lookup, INSIDE) == {"a": 1, "b": 8}
    asyncio.run(entities.write(("actions", PLAIN.key, None)))
    assert lookup(PLAIN, "") is None
    assert lookup(parse_name("/guest/never", "_"), "") is None


def test_readers_in_threads_see_one_state_or_the_next(lookup: Lookup, entities: Entities) -> None:
    seen: list[int] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.append(arguments(lookup, PLAIN)["a"])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 40):
        asyncio.run(entities.write(("actions", PLAIN.key, action(PLAIN, a=number))))
        assert arguments(lookup, PLAIN) == {"a": number}
    over.set()
    for thread in threads:
        thread.join()
    assert set(seen) <= set(range(1, 40))
