"""Who may log in: add, list, get, remove. Each subject has a namespace of the same name.

The running gateway follows. Keys are kept in files that only the service can read.

edgewhisk subject add plant-b
edgewhisk subject list
edgewhisk subject get plant-b
edgewhisk subject remove plant-b
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edgewhisk.cli.output import document, done
from edgewhisk.cli.parser import add_verb
from edgewhisk.config.loader import load
from edgewhisk.config.schema import Config
from edgewhisk.controller.auth.subjects import (
    add_subject,
    check_subject,
    key_file,
    read_key,
    remove_subject,
    settled,
    subjects_of,
)
from edgewhisk.entity.identity import AuthKey
from edgewhisk.errors import NotFound, StorageError

_PATIENCE: Final = 10.0  # seconds that the running gateway gets to take away what a subject had
_LOOK: Final = 0.05  # seconds between two looks whether it has


def options(parser: argparse.ArgumentParser) -> None:
    """All verbs of subjects."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name, run, what in (
        ("add", _add, "let a new subject log in, and print its key"),
        ("list", _list, "list subjects, without their keys"),
        ("get", _get, "print the key of a subject"),
        ("remove", _remove, "let a subject log in no more, and take away all that it had"),
    ):
        own = add_verb(verbs, parser, name, what)
        own.add_argument("--config", type=Path, metavar="FILE", help="configuration of the gateway")
        own.add_argument("--json", action="store_true", help="print JSON only, for scripts")
        if name != "list":
            own.add_argument("name")
        if name == "add":
            own.add_argument("-u", "--auth", metavar="UUID:KEY", help="its key (default: a new random one)")
        own.set_defaults(run=run)


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Run the verb."""
    try:
        return int(given.run(given, load(given.config, environment)))
    except OSError as error:
        hint = "run it as root or as the service's user"
        raise StorageError(f"{error.filename}: {error.strerror}", hint=hint) from error


def _add(given: argparse.Namespace, config: Config) -> int:
    wanted = AuthKey.parse(given.auth) if given.auth else None
    key = add_subject(config.state_dir, given.name, wanted)
    if given.json:
        document({"subject": given.name, "auth": key.compact})
    else:
        done(f"added subject {given.name}; its key:")
        print(key.compact)
    return 0


def _list(given: argparse.Namespace, config: Config) -> int:
    found = subjects_of(config.state_dir)
    if given.json:
        document(found)
    else:
        print("\n".join(found))
    return 0


def _get(given: argparse.Namespace, config: Config) -> int:
    check_subject(given.name)
    path = key_file(config.state_dir, given.name)
    if not path.exists():
        raise NotFound(f"there is no subject {given.name}", hint="edgewhisk subject list")
    key = read_key(path).compact
    if given.json:
        document({"subject": given.name, "auth": key})
    else:
        print(key)
    return 0


def _remove(given: argparse.Namespace, config: Config) -> int:
    remove_subject(config.state_dir, given.name)
    running = (config.state_dir / "url").exists()
    end = time.monotonic() + _PATIENCE
    while running and not (gone := settled(config.state_dir, given.name)) and time.monotonic() < end:
        time.sleep(_LOOK)
    what = "all that it had is gone" if running and gone else "what it had goes when the gateway runs"
    done(f"removed subject {given.name}; {what}", quiet=given.json)
    return 0
