"""Packages without what they load for themselves."""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec


def bare_package(name: str) -> None:
    """Have modules of the package `name` imported without running the package's own `__init__`.

    Its names are those of its modules then. Nothing happens if it is loaded already, or is not there:
    then the import says so.
    """
    if name not in sys.modules and (spec := find_spec(name)) is not None:
        sys.modules[name] = module_from_spec(spec)
