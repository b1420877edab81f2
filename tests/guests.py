"""The guests, built if need be and compiled once for all tests of a run: that takes 10 s of CPU."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from types import ModuleType

from edgewhisk.clock.system import SystemClock
from edgewhisk.sandbox.pool import Sandboxes
from tests.fakes.capabilities import NoCapabilities

ROOT = Path(__file__).resolve().parents[1]


@functools.cache
def builds() -> ModuleType:
    """The build hook, as a module."""
    spec = importlib.util.spec_from_file_location("build_hook", ROOT / "sandboxes" / "build_hook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def compiled() -> Path:
    """A cache with the code of all guests."""
    builds().build()
    folder = Path(tempfile.mkdtemp(prefix="edgewhisk-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = Sandboxes(folder, SystemClock(), NoCapabilities(), slots=1)
    made.prepare(lambda _: None)
    made.close()
    return folder


def lend_compiled(cache: Path) -> None:
    """Put what is compiled where a gateway looks for it, unless it was there before."""
    if cache.exists():
        return
    cache.mkdir(mode=0o700, parents=True)
    for path in compiled().iterdir():
        os.link(path, cache / path.name)
