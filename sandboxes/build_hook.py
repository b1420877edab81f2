"""Builds the guests: a hatchling build hook, and a command for a checkout.

    python sandboxes/build_hook.py      build in place what is not up to date

Each folder with a `build.py` has the recipe of its guest. Compilers and engines come from the package
index that pip is configured for, checked against the hashes in `build-requirements.txt`. Nothing is
fetched when the guest in `dist/` was built from the same sources with the same recipe.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a command
    BuildHookInterface = object  # type: ignore[assignment, misc]

HERE = Path(__file__).resolve().parent


class GuestBuildHook(BuildHookInterface):  # type: ignore[misc, valid-type]
    """Builds the guests before a wheel or an sdist is put together."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling."""
        del version, build_data
        build()


def build() -> list[Path]:
    """Build every guest that is not up to date; where they are."""
    return [recipe(path.parent.name).run() for path in sorted(HERE.glob("*/build.py"))]


def recipe(name: str) -> ModuleType:
    """The recipe `NAME/build.py`; recipes import what they share from `recipe.py` here."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    shared: ModuleType = importlib.import_module("recipe")
    module: ModuleType = shared.load(HERE / name / "build.py")
    return module


if __name__ == "__main__":
    for guest in build():
        print(guest)
