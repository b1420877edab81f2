"""Activations: list, get, logs, result, poll.

edgewhisk activation list hot --limit 5
edgewhisk activation get --last
edgewhisk activation poll
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from edgewhisk.cli.arguments import field_of, page_options, valued
from edgewhisk.cli.client import ApiClient
from edgewhisk.cli.entity.entity import EntityCommands, named, perform
from edgewhisk.cli.output import document, done, note, paint, table
from edgewhisk.errors import BadRequest

_STATUS: Final = ("success", "application error", "developer error", "internal error")
_PAUSE: Final = 1.0  # seconds between two looks while polling
_SINCE: Final = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
_REMEMBERED: Final = 2000  # ids of shown activations

__all__ = ["options", "perform"]


def options(parser: argparse.ArgumentParser) -> None:
    """All verbs of activations."""
    noun = EntityCommands(parser)
    found = noun.verb("list", _list, "list activations, newest first")
    found.add_argument("name", nargs="?", help="of one action, [PACKAGE/]NAME, or trigger")
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
    poll = noun.verb("poll", _poll, "show activations as they come, until Ctrl-C")
    poll.add_argument("name", nargs="?", help="of one action, [PACKAGE/]NAME")
    poll.add_argument("-e", "--exit", type=float, default=0, metavar="SECONDS", help="stop after a time")
    for unit in _SINCE:
        poll.add_argument(f"--since-{unit}", type=int, default=0, metavar="N", help=f"begin N {unit} ago")


def _list(given: argparse.Namespace, api: ApiClient) -> int:
    query: dict[str, object] = {"limit": given.limit, "skip": given.skip}
    for key in ("name", "since", "upto"):
        if getattr(given, key) is not None:
            query[key] = getattr(given, key)
    if given.full:
        query["docs"] = True
    with named("list activations"):
        found = api.get("_/activations", **query)
    if given.json or given.full:
        document(found)
    else:
        table("activations", _rows(found))
    return 0


def _rows(found: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    rows = [["time", "activation id", "kind", "start", "duration", "status", "entity"]]
    for item in found:
        notes = valued(item["annotations"])
        status = item.get("statusCode")
        rows.append(
            [
                time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(item["start"] / 1000)),
                item["activationId"],
                str(notes.get("kind", "trigger")),
                "cold" if "initTime" in notes else "warm",
                f"{item['duration']}ms" if "duration" in item else "",
                "fired" if status is None else _STATUS[status],
                f"{item['namespace']}/{item['name']}:{item['version']}",
            ]
        )
    return rows


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
        print("\n".join(found["logs"]))
    elif given.summary:
        print(f"activation result for '{found['name']}' ({found['response']['status']} at {_clock(found)})")
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
        print(line[31:].partition(": ")[2] if given.strip and len(line) > 31 else line)
    return 0


def _result(given: argparse.Namespace, api: ApiClient) -> int:
    with named(f"get result of activation '{given.id or 'last'}'"):
        found = api.get(f"_/activations/{_id(given, api)}/result")
    document(found["result"])
    return 0


def _poll(given: argparse.Namespace, api: ApiClient) -> int:
    ago = sum(getattr(given, f"since_{unit}") * seconds for unit, seconds in _SINCE.items())
    since = int((time.time() - ago) * 1000)
    if not ago:  # the gateway's clock may differ from ours: begin after what it has
        newest = api.get("_/activations", limit=1, skip=0)
        since = newest[0]["start"] + 1 if newest else 0
    end = time.monotonic() + given.exit if given.exit else None
    if not given.json:
        note("polling for activations; Ctrl-C ends it")
    query: dict[str, object] = {"docs": True, "limit": 0, "skip": 0}
    if given.name:
        query["name"] = given.name
    seen: dict[str, None] = {}
    while True:
        found = api.get("_/activations", since=since, **query)
        for item in reversed(found):
            if item["activationId"] not in seen:
                seen[item["activationId"]] = None
                _show(item, as_json=given.json)
        if found:  # records of the same millisecond may still come, and long runs that began before
            since = max(since, found[0]["start"] - 60_000)
        while len(seen) > _REMEMBERED:
            seen.pop(next(iter(seen)))
        if end is not None and time.monotonic() >= end:
            return 0
        time.sleep(_PAUSE if end is None else max(0.0, min(_PAUSE, end - time.monotonic())))


def _show(item: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        from edgewhisk import jsontext

        print(jsontext.dumps(item).decode(), flush=True)
        return
    status = item["response"].get("status", "success")
    colour = "green" if status == "success" else "yellow" if status == "application error" else "red"
    took = f" in {item['duration']} ms" if "duration" in item else ""
    print(
        f"{_clock(item)} {paint(item['name'], 'bold')} {paint(status, colour)}{took} ({item['activationId']})"
    )
    for line in item["logs"]:
        print(f"  {line}", flush=True)


def _clock(item: Mapping[str, Any]) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(item["start"] / 1000))
