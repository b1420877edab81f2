"""The contract of `spi.Shaping`; that it is a `Fire` besides is held by `test_fire.py`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from edgewhisk.entity.names import parse_name
from edgewhisk.errors import FeedError
from edgewhisk.feed.shaping.shaping_stage import ShapingStage
from edgewhisk.spi import Shaping
from edgewhisk.store.documents.document_store import LogDocumentStore
from tests import odd
from tests.contract.suites import Suite, named, play
from tests.fakes.clock import HandClock
from tests.fakes.disk import MemoryDisk
from tests.fakes.fire import RecordingFire
from tests.stages import TRIGGER, event

OTHER = parse_name("/guest/other", "_")
SUITE = Suite(Shaping, {ShapingStage: ShapingStage})
EACH = pytest.mark.parametrize("made", SUITE.classes, ids=named)


@asynccontextmanager
async def opened(made: type) -> AsyncIterator[tuple[Shaping, RecordingFire]]:
    shelf, fire = LogDocumentStore.open(Path("/shelf"), MemoryDisk()), RecordingFire()
    yield SUITE.implementations[made](fire, HandClock(), shelf), fire
    await shelf.close()


@EACH
def test_what_is_held_is_fired_when_there_is_no_shape_any_more(made: type) -> None:
    async def scene() -> None:
        async with opened(made) as (shaping, fire):
            assert shaping.describe(TRIGGER) == {}
            shaping.shape(TRIGGER, {"batch": {"count": 3, "seconds": 60}})
            for number in range(4):
                await shaping([event(number)])
            assert len(fire.events) == 1
            assert shaping.describe(TRIGGER) == {"offered": 4, "let_through": 1, "held": 1}
            assert shaping.describe(OTHER) == {}
            shaping.shape(TRIGGER, None)
            assert len(fire.events) == 2
            assert shaping.describe(TRIGGER) == {}
            await shaping([event(9)])
            assert fire.payloads[-1] == event(9).payload

    play(scene())


@EACH
def test_the_same_shape_again_changes_nothing_and_another_lets_go(made: type) -> None:
    async def scene() -> None:
        async with opened(made) as (shaping, fire):
            for _ in range(2):
                shaping.shape(TRIGGER, {"batch": {"count": 3, "seconds": 60}})
                await shaping([event(1)])
            assert shaping.describe(TRIGGER)["held"] == 2
            shaping.shape(TRIGGER, {"batch": {"count": 5, "seconds": 60}})
            assert len(fire.events) == 1

    play(scene())


@EACH
@settings(max_examples=60, deadline=None)
@given(odd.values() | odd.objects().map(lambda value: {"batch": value}))
def test_any_shape_is_taken_or_refused_with_a_reason(made: type, shape: Any) -> None:
    async def scene() -> None:
        async with opened(made) as (shaping, fire):
            with contextlib.suppress(FeedError):
                shaping.check(shape)
                shaping.shape(TRIGGER, shape)
                await shaping([event(1)])
                shaping.shape(TRIGGER, None)
                assert len(fire.events) <= 1

    play(scene())
