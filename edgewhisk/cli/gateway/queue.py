"""What could not go on its way: messages that are no events, events that are not run, commands that wait.

edgewhisk queue show
edgewhisk queue retry 17 18
edgewhisk queue retry --all
edgewhisk queue drop --all
"""

from __future__ import annotations

import argparse
import base64
from typing import Any

from edgewhisk.cli.client import ApiClient, ApiError
from edgewhisk.cli.entity.entity import EntityCommands, named, perform
from edgewhisk.cli.output import complain, document, done, table
from edgewhisk.device.rejected import sample
from edgewhisk.errors import BadRequest

__all__ = ["options", "perform"]
_LETTERS = "/edgewhisk/dead-letters"
_COMMANDS = "/edgewhisk/commands"


def options(parser: argparse.ArgumentParser) -> None:
    """All verbs."""
    noun = EntityCommands(parser)
    noun.verb("show", _show, "list refused messages, events that are not run, and commands, with the reasons")
    for name, run, what in (
        ("retry", _retry, "take messages and events once more, when the reason is gone; try commands now"),
        ("drop", _drop, "forget them; a command that waits is then never delivered"),
    ):
        own = noun.verb(name, run, what)
        own.add_argument("id", nargs="*")
        own.add_argument("--all", action="store_true", help="all that were refused or lost; none that wait")


def _show(given: argparse.Namespace, api: ApiClient) -> int:
    letters, commands = api.get(_LETTERS), api.get(_COMMANDS)
    if given.json:
        document({"messages": letters, "commands": commands})
        return 0
    table("messages that were refused and events that are not run", rows(letters))
    table("commands that wait or were lost", _commands(commands))
    return 0


def _commands(found: list[dict[str, Any]]) -> list[list[str]]:
    """Id, state, what it does and why it did not."""
    return [[one["id"], one["state"], one["told"], one["reason"]] for one in found]


def rows(found: list[dict[str, Any]]) -> list[list[str]]:
    """Id, trigger, topic or action, reason and the beginning of each."""
    return [
        [
            one["id"],
            one["trigger"] or "-",
            one["topic"],
            one["reason"],
            sample(base64.b64decode(one["payload"])),
        ]
        for one in found
    ]


def _paths(given: argparse.Namespace, api: ApiClient) -> list[tuple[str, str]]:
    """Each id with its route."""
    if given.all == bool(given.id):
        raise BadRequest("ids are needed, or --all", hint="edgewhisk queue show")
    commands = {one["id"]: one["state"] for one in api.get(_COMMANDS)}
    if given.all:
        lost = [(one, f"{_COMMANDS}/{one}") for one, state in commands.items() if state != "waiting"]
        return [(one["id"], f"{_LETTERS}/{one['id']}") for one in api.get(_LETTERS)] + lost
    return [(one, f"{_COMMANDS if one in commands else _LETTERS}/{one}") for one in given.id]


def _retry(given: argparse.Namespace, api: ApiClient) -> int:
    failed = 0
    for key, path in _paths(given, api):
        try:
            found = api.post(f"{path}/retry")
        except ApiError as error:
            failed += 1
            complain(f"{key}: {error}")
            continue
        told = "delivered" if found.get("delivered") else found.get("reason", "")
        done(f"retried {key}" + (f": {told}" if told else ""), quiet=given.json)
    if given.json:
        document({"failed": failed})
    return 1 if failed else 0


def _drop(given: argparse.Namespace, api: ApiClient) -> int:
    for key, path in _paths(given, api):
        with named(f"drop {key}"):
            api.delete(path)
        done(f"dropped {key}", quiet=given.json)
    if given.json:
        document({"dropped": True})
    return 0
