"""Check the configuration and the device profiles, and say where the configuration comes from.

edgewhisk check --config edgewhisk.toml
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from edgewhisk.base import resources
from edgewhisk.config.loader import load
from edgewhisk.device import library
from edgewhisk.errors import ConfigError


def options(_parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Say that it is right; faults are raised."""
    config = load(given.config, environment)
    resources.own(config.state_dir)
    found, faults = library.survey()
    if faults:
        raise ConfigError(tuple(faults))
    where = f"{config.source or 'built-in defaults'}; state in {config.state_dir}"
    print(f"ok: {where}; {len(found)} device profiles")
    return 0
