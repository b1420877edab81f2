"""One set of sandboxes for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewhisk.clock.system import SystemClock
from edgewhisk.sandbox.pool import Sandboxes
from tests.fakes.capabilities import NoCapabilities
from tests.guests import lend_compiled


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sandboxes") / "cache"
    lend_compiled(folder)
    return folder


@pytest.fixture(scope="session")
def sandboxes(cache: Path) -> Iterator[Sandboxes]:
    made = Sandboxes(cache, SystemClock(), NoCapabilities(), slots=4)
    made.prepare(lambda _: None)
    yield made
    made.close()
