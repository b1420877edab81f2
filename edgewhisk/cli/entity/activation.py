"""Activations: list, get, logs, result, poll.

edgewhisk activation list hot --limit 5
edgewhisk activation get --last
edgewhisk activation get 44794bd6aab74415b4e42a308d880e5b response
edgewhisk activation logs --last --strip
edgewhisk activation result --last
edgewhisk activation poll                       what comes in, what runs, what comes of it
edgewhisk activation poll --trigger boiler --failed --full
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from edgewhisk.cli.arguments import field_of, page_options, valued
from edgewhisk.cli.client import ApiClient
from edgewhisk.cli.entity import poll
from edgewhisk.cli.entity.entity import EntityCommands, named, perform
from edgewhisk.cli.output import document, done, table
from edgewhisk.errors import BadRequest

_STATUS: Final = ("success", "application error", "developer error", "internal error")

__all__ = ["options", "perform"]


def options(parser: argparse.ArgumentParser) -> None:
    """All verbs of activations."""
    noun = EntityCommands(parser)
    found = noun.verb("list", _list, "list activations, newest first")
    found.add_argument("name", nargs="?", help="of one action, [PACKAGE/]NAME, or trigger; or /NAMESPACE")
    found.add_argument("-f", "--full", action="store_true", help="whole records")
    found.add_argument("--since", type=int, metavar="MS", help="started at or after, ms since 1970")
    found.add_argument("--upto", type=int, metavar="MS", help="started at or before")
    page_options(found)
    for verb, run, what in (
        ("get", _get, "show an activation"),
        ("logs", _logs, "show what an activation printed"),
        ("result", _result, "show the result of an activation"),
    ):
        own = noun.verb(verb, run, what)
        own.add_argument("id", nargs="?")
        own.add_argument("-l", "--last", action="store_true", help="the newest one")
        if verb == "get":
            own.add_argument("field", nargs="?")
            own.add_argument("-s", "--summary", action="store_true", help="only what came of it")
            own.add_argument("-g", "--logs", action="store_true", help="only what it printed")
        if verb == "logs":
            own.add_argument("-r", "--strip", action="store_true", help="without time and stream")
    poll.options(noun.verb("poll", poll.poll, "show what comes in and what comes of it, until Ctrl-C"))


def _list(given: argparse.Namespace, api: ApiClient) -> int:
    query: dict[str, object] = {"limit": given.limit, "skip": given.skip}
    namespace, given.name = poll.scope(given.name)
    for key in ("name", "since", "upto"):
        if getattr(given, key) is not None:
            query[key] = getattr(given, key)
    if given.full:
        query["docs"] = True
    with named("list activations"):
        found = api.get(f"{namespace}/activations", **query)
    if given.json or given.full:
        document(found)
    else:
        of_rules = any("edge-trigger" in valued(item["annotations"]) for item in found)
        table("activations", _rows(found, poll.rules_of(api) if of_rules else {}))
    return 0


def _rows(found: Iterable[Mapping[str, Any]], rules: Mapping[tuple[str, str], str]) -> Iterator[list[str]]:
    yield ["time", "activation id", "kind", "start", "duration", "status", "entity", "trigger", "rule"]
    for item in found:
        notes = valued(item["annotations"])
        trigger = str(notes.get("edge-trigger", ""))
        rule = "" if "causedBy" in notes else rules.get((trigger, str(notes.get("path", ""))), "")
        status = item.get("statusCode")
        yield [
            poll.clock(item),
            item["activationId"],
            str(notes.get("kind", "trigger")),
            "cold" if "initTime" in notes else "warm",
            f"{item['duration']}ms" if "duration" in item else "",
            "fired" if status is None or "kind" not in notes else _STATUS[status],
            f"{item['namespace']}/{item['name']}:{item['version']}",
            trigger.rpartition("/")[2],
            rule,
        ]


def _id(given: argparse.Namespace, api: ApiClient) -> str:
    if given.last:
        if given.id and getattr(given, "field", None) is None and hasattr(given, "field"):
            given.field = given.id  # `get --last FIELD`
        found = api.get("_/activations", limit=1, skip=0)
        if not found:
            raise BadRequest("there is no activation yet")
        return str(found[0]["activationId"])
    if not given.id:
        raise BadRequest("which activation? give its id, or --last")
    return str(given.id)


def _get(given: argparse.Namespace, api: ApiClient) -> int:
    with named(f"get activation '{given.id or 'last'}'"):
        found = api.get(f"_/activations/{_id(given, api)}")
    if given.logs:
        print("\n".join(map(_stripped, found["logs"])))
    elif given.summary:
        print(
            f"activation result for '{found['name']}' ({found['response']['status']} at {poll.clock(found)})"
        )
        document(found["response"]["result"])
    else:
        done(f"got activation {found['activationId']}", quiet=given.json or given.field is not None)
        document(field_of(found, given.field))
    return 0


def _logs(given: argparse.Namespace, api: ApiClient) -> int:
    with named(f"get logs of activation '{given.id or 'last'}'"):
        lines = api.get(f"_/activations/{_id(given, api)}/logs")["logs"]
    if given.json:
        document(lines)
    for line in [] if given.json else lines:
        print(_stripped(line) if given.strip else line)
    return 0


def _stripped(line: str) -> str:
    """A line of a log without its time and stream."""
    return line[31:].partition(": ")[2] if len(line) > 31 else line


def _result(given: argparse.Namespace, api: ApiClient) -> int:
    with named(f"get result of activation '{given.id or 'last'}'"):
        found = api.get(f"_/activations/{_id(given, api)}/result")
    document(found["result"])
    return 0
