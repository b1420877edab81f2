"""What `.wskprops` says: get, set, unset. `wsk` and other clients read the same file.

edgewhisk property set --apihost 192.168.1.5:3233 --auth uuid:key
edgewhisk property set --cacert gateway.pem   trust this certificate
edgewhisk property get --apihost
edgewhisk property get --all --json
edgewhisk property unset --auth
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edgewhisk import __version__
from edgewhisk.cli.endpoint import CA, properties, properties_file
from edgewhisk.cli.output import document, done
from edgewhisk.cli.parser import add_verb
from edgewhisk.errors import BadRequest, StorageError

_KEYS: Final = {
    "apihost": ("APIHOST", "whisk API host"),
    "auth": ("AUTH", "whisk auth"),
    "namespace": ("NAMESPACE", "whisk namespace"),
    "apiversion": ("APIVERSION", "whisk API version"),
    "cert": ("CERT", "client cert"),
    "key": ("KEY", "client key"),
    "cacert": (CA, "trusted cert"),
}
_PATHS: Final = ("cert", "key", "cacert")


def options(parser: argparse.ArgumentParser) -> None:
    """All verbs of properties."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name, run, what in (
        ("get", _get, "show what is set, or some of it"),
        ("set", _set, "set some of it"),
        ("unset", _unset, "forget some of it"),
    ):
        own = add_verb(verbs, parser, name, what)
        own.add_argument("--json", action="store_true", help="print JSON only, for scripts")
        own.set_defaults(run=run)
        for option, (_, told) in _KEYS.items():
            names = ["-u", "--auth"] if option == "auth" else [f"--{option}"]
            if name == "set" and option == "namespace":
                continue  # a key has one namespace
            if name == "set":
                own.add_argument(*names, metavar="VALUE", help=told)
            else:
                own.add_argument(*names, action="store_true", help=told)
        if name == "get":
            own.add_argument("--all", action="store_true", help="all of it, as without any option")
            own.add_argument("--cliversion", action="store_true", help="version of this command line")
            own.add_argument(
                "-o", "--output", choices=("std", "raw"), default="std", help="raw: values alone"
            )


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Run the verb."""
    return int(given.run(given, environment))


def _chosen(given: argparse.Namespace) -> list[str]:
    return [option for option in _KEYS if getattr(given, option, None)]


def _get(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    there = {"NAMESPACE": "_", "APIVERSION": "v1", **properties(environment)}
    chosen = _chosen(given)
    if given.all or (not chosen and not given.cliversion):
        chosen = list(_KEYS)
    found = {_KEYS[option][1]: there.get(_KEYS[option][0], "") for option in chosen}
    if given.cliversion or given.all:
        found["whisk CLI version"] = f"edgewhisk {__version__}"
    if given.json:
        document(found)
    else:
        for name, text in found.items():
            print(text if given.output == "raw" else f"{name:<20}{text}")
    return 0


def _set(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    chosen = {option: str(getattr(given, option)) for option in _chosen(given)}
    if not chosen:
        raise BadRequest("what is to be set?", hint="for example --apihost HOST, --auth UUID:KEY")
    if chosen.get("apiversion", "v1") != "v1":
        raise BadRequest("there is one version of the API, v1")
    if odd := [option for option, text in chosen.items() if not text.isprintable()]:
        raise BadRequest(f"--{odd[0]} must be one line of text")
    for option in _PATHS:
        if option in chosen:
            chosen[option] = str(Path(chosen[option]).absolute())
    _write(environment, {_KEYS[option][0]: text for option, text in chosen.items()})
    for option, text in chosen.items():
        done(f"{_KEYS[option][1]} set" + ("" if option == "auth" else f" to {text}"), quiet=given.json)
    if given.json:
        document({"set": sorted(chosen)})
    return 0


def _unset(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    chosen = _chosen(given)
    if not chosen:
        raise BadRequest("what is to be unset?", hint="for example --auth")
    _write(environment, {_KEYS[option][0]: None for option in chosen})
    for option in chosen:
        done(f"{_KEYS[option][1]} unset", quiet=given.json)
    if given.json:
        document({"unset": chosen})
    return 0


def _write(environment: Mapping[str, str], changes: Mapping[str, str | None]) -> None:
    """Change some lines of the file, whole or not at all; comments and what others wrote stay."""
    path, left = properties_file(environment), dict(changes)
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = []
        for line in lines:
            key = line.partition("=")[0].strip()
            if key not in changes:
                kept.append(line)
            elif (text := left.pop(key, None)) is not None:
                kept.append(f"{key}={text}")
        kept += [f"{key}={text}" for key, text in left.items() if text is not None]
        draft = path.with_name(f"{path.name}.new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("".join(f"{line}\n" for line in kept))
        draft.replace(path)
    except (OSError, UnicodeError) as error:
        raise StorageError(f"{path} cannot be written: {getattr(error, 'strerror', error)}") from error
