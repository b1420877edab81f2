"""Check the configuration, what it names, and the device profiles; say what a start would meet.

Exit code 2 if something is wrong. Nothing is started, and nothing is changed.

edgewhisk check
edgewhisk check --config edgewhisk.toml --json
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from edgewhisk.base import resources
from edgewhisk.cli import OK, USAGE
from edgewhisk.cli.output import complain, document, note
from edgewhisk.config.loader import load
from edgewhisk.config.schema import Config
from edgewhisk.device import library
from edgewhisk.errors import ConfigError, Fault


def options(parser: argparse.ArgumentParser) -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON only, for scripts")


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Say that it is right, or all that is wrong."""
    from edgewhisk.cli.gateway.obstacles import obstacles, waits

    faults: list[Fault] = []
    config: Config | None = None
    known: list[str] = []
    try:
        config = load(given.config, environment)
    except ConfigError as error:
        faults += error.faults
    else:
        resources.own(config.state_dir)
        found, broken = library.survey()
        known = [one.name for one in found]
        faults += [*broken, *obstacles(config, environment, known)]
    waiting = list(waits(config)) if config else []
    if given.json:
        _print(config, known, faults, waiting)
        return USAGE if faults else OK
    for fault in faults:
        complain(str(fault))
    for text in waiting:
        note(text)
    if faults or config is None:
        return USAGE
    where = f"{config.source or 'built-in defaults'}; state in {config.state_dir}"
    print(f"ok: {where}; {len(known)} device profiles")
    return OK


def _print(config: Config | None, profiles: list[str], faults: list[Fault], waiting: list[str]) -> None:
    document(
        {
            "ok": not faults,
            "config": str(config.source) if config and config.source else None,
            "state_dir": str(config.state_dir) if config else None,
            "profiles": len(profiles),
            "problems": [
                {"where": one.where, "key": one.key, "problem": one.problem, "example": one.example}
                for one in faults
            ],
            "waiting": waiting,
        }
    )
