"""One set of sandboxes for all tests: the guest is built if need be, and compiled once."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from edgewhisk.clock import SystemClock
from edgewhisk.sandbox.pool import Sandboxes
from tests.fakes.capabilities import NoCapabilities

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def builds() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_hook", ROOT / "sandboxes" / "build_hook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory, builds: ModuleType) -> Path:
    builds.build()
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def sandboxes(cache: Path) -> Iterator[Sandboxes]:
    made = Sandboxes(cache, SystemClock(), NoCapabilities(), slots=4)
    made.prepare(lambda _: None)
    yield made
    made.close()
