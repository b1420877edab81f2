"""Check the configuration, and say where it comes from.

edgewhisk check --config edgewhisk.toml
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from edgewhisk.config import load


def options(_parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Say that it is right; faults are raised."""
    config = load(given.config, environment)
    print(f"ok: {config.source or 'built-in defaults'}; state in {config.state_dir}")
    return 0
