"""Messages that could not become events: show, retry, drop.

edgewhisk queue show
edgewhisk queue retry 00001795...-3f2a
edgewhisk queue drop --all
"""

from __future__ import annotations

import argparse
import base64
from typing import Any

from edgewhisk.cli.client import ApiError, Client
from edgewhisk.cli.noun import Noun, named, perform, tabled
from edgewhisk.cli.output import complain, document, done

__all__ = ["options", "perform"]
_PATH = "/edgewhisk/dead-letters"


def options(parser: argparse.ArgumentParser) -> None:
    """All verbs."""
    noun = Noun(parser)
    noun.verb("show", _show, "list refused messages with the reasons")
    for name, run, what in (
        ("retry", _retry, "take messages once more, after the trigger's feed was changed"),
        ("drop", _drop, "forget messages"),
    ):
        own = noun.verb(name, run, what)
        own.add_argument("id", nargs="*")
        own.add_argument("--all", action="store_true", help="all of them")


def _show(given: argparse.Namespace, api: Client) -> int:
    return tabled(given, "dead letters", api.get(_PATH), rows)


def rows(found: list[dict[str, Any]]) -> list[list[str]]:
    """Id, trigger, topic, reason and the beginning of each."""
    return [
        [
            one["id"],
            one["trigger"],
            one["topic"],
            one["reason"],
            repr(base64.b64decode(one["payload"])[:40])[1:],
        ]
        for one in found
    ]


def _ids(given: argparse.Namespace, api: Client) -> list[str]:
    return [one["id"] for one in api.get(_PATH)] if given.all else list(given.id)


def _retry(given: argparse.Namespace, api: Client) -> int:
    failed = 0
    for key in _ids(given, api):
        try:
            api.post(f"{_PATH}/{key}/retry")
            done(f"retried {key}", quiet=given.json)
        except ApiError as error:
            failed += 1
            complain(f"{key}: {error}")
    if given.json:
        document({"failed": failed})
    return 1 if failed else 0


def _drop(given: argparse.Namespace, api: Client) -> int:
    for key in _ids(given, api):
        with named(f"drop {key}"):
            api.delete(f"{_PATH}/{key}")
        done(f"dropped {key}", quiet=given.json)
    if given.json:
        document({"dropped": True})
    return 0
