"""`edgewhisk activation poll`: what came in, what ran and what came of it, as it happens."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.cli.arguments import qualified, valued
from edgewhisk.cli.client import ApiClient, ApiError
from edgewhisk.cli.output import note, paint, shown_json, width

_PAUSE: Final = 1.0  # seconds between two looks
_PAGE: Final = 200  # the most that the API gives at once
_LATE: Final = 60_000  # ms: a run that began so long before others may be told after them
_REMEMBERED: Final = 2000  # ids of shown activations
_LEAST: Final = 20  # characters of a value that are shown on any terminal
_TIME: Final = 31  # characters before the stream in a line of logs
SINCE: Final = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}


class Origin(NamedTuple):
    """Why something ran."""

    trigger: str = ""  # qualified
    rule: str = ""
    payload: Any = None  # what the trigger was fired with; None where its record is not kept


def options(parser: argparse.ArgumentParser) -> None:
    """What is shown, and since when."""
    parser.add_argument("name", nargs="?", help="of one action or trigger, [PACKAGE/]NAME, or of /NAMESPACE")
    parser.add_argument("--action", metavar="NAME", help="only runs of this action")
    parser.add_argument("--trigger", metavar="NAME", help="only this trigger, and what it started")
    parser.add_argument("--failed", action="store_true", help="only what failed")
    parser.add_argument("-f", "--full", action="store_true", help="everything in full, with ids and times")
    parser.add_argument("-e", "--exit", type=float, default=0, metavar="SECONDS", help="stop after a time")
    for unit in SINCE:
        parser.add_argument(f"--since-{unit}", type=int, default=0, metavar="N", help=f"begin N {unit} ago")


def poll(given: argparse.Namespace, api: ApiClient) -> int:
    """Show activations until Ctrl-C or the end of `--exit`; exit code 0."""
    ago = sum(getattr(given, f"since_{unit}") * seconds for unit, seconds in SINCE.items())
    since = int((time.time() - ago) * 1000)
    if not ago:  # the gateway's clock may differ from ours: begin after what it has
        newest = api.get("_/activations", limit=1, skip=0)
        since = newest[0]["start"] + 1 if newest else 0
    if not given.json:
        note("polling for activations; Ctrl-C ends it")
    shown = _Shown(given)
    end = time.monotonic() + given.exit if given.exit else None
    while True:
        since = shown.look(api, since)
        if end is not None and time.monotonic() >= end:
            return 0
        time.sleep(_PAUSE if end is None else max(0.0, min(_PAUSE, end - time.monotonic())))


def scope(given: str | None) -> tuple[str, str | None]:
    """Namespace and name of `[PACKAGE/]NAME`, `/NAMESPACE` or `/NAMESPACE/[PACKAGE/]NAME`."""
    if not given or not given.startswith("/"):
        return "_", given or None
    namespace, _, name = given[1:].partition("/")
    return namespace or "_", name or None


class _Shown:
    """What was shown already, and what is known of why things ran."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._seen: dict[str, None] = {}
        self._origins: dict[str, Origin] = {}
        self._rules: dict[tuple[str, str], str] | None = None
        self._answered = self._lost = False

    def look(self, api: ApiClient, since: int) -> int:
        """Show what is new; from when to look the next time. A gateway that is away is waited for."""
        query: dict[str, object] = {"docs": True, "limit": 0, "skip": 0}
        namespace, name = scope(self._given.name or (None if self._given.trigger else self._given.action))
        if name:
            query["name"] = name
        try:
            found = api.get(f"{namespace}/activations", since=since, **query)
        except ApiError as error:
            if error.code or not self._answered:
                raise
            if not self._lost:
                note(f"{error}; waiting for it")
            self._lost = True
            return since
        if self._lost:
            note("it answers again")
        self._answered, self._lost = True, False
        fresh = [item for item in reversed(found) if item["activationId"] not in self._seen]
        if len(fresh) >= _PAGE and self._seen:
            note(f"more than {_PAGE} activations came at once: the oldest of them are not shown")
        self._show(api, fresh)
        return max(since, found[0]["start"] - _LATE) if found else since

    def _show(self, api: ApiClient, fresh: list[dict[str, Any]]) -> None:
        for item in fresh:
            self._seen[item["activationId"]] = None
            self._origins.update(origins(item))
        for item in fresh:
            origin = self._origin(api, item)
            if not wanted(self._given, item, origin):
                continue
            if self._given.json:
                print(jsontext.dumps(item).decode(), flush=True)
            else:
                print("\n".join(told(item, origin, full=self._given.full)), flush=True)
        for known in (self._seen, self._origins):
            while len(known) > _REMEMBERED:
                known.pop(next(iter(known)))

    def _origin(self, api: ApiClient, item: Mapping[str, Any]) -> Origin:
        """Of a run whose trigger left no record, as a reading's, the rule is the one that fits."""
        if known := self._origins.get(item["activationId"]):
            return known
        notes = valued(item["annotations"])
        trigger = str(notes.get("edge-trigger", ""))
        if not trigger or "causedBy" in notes:
            return Origin(trigger)
        ends = (trigger, str(notes.get("path", "")))
        if self._rules is None or ends not in self._rules:
            self._rules = {ends: "", **rules_of(api)}
        return Origin(trigger, self._rules[ends])


def rules_of(api: ApiClient) -> dict[tuple[str, str], str]:
    """The rule from each trigger, `/ns/name`, to each action, `ns/[package/]name`."""
    found: dict[tuple[str, str], str] = {}
    for skip in range(0, 1000, _PAGE):
        page = api.get("_/rules", limit=_PAGE, skip=skip)
        for rule in page:
            trigger, action = rule["trigger"], rule["action"]
            ends = (f"/{trigger['path']}/{trigger['name']}", f"{action['path']}/{action['name']}")
            found[ends] = rule["name"]
        if len(page) < _PAGE:
            break
    return found


def origins(item: Mapping[str, Any]) -> Iterator[tuple[str, Origin]]:
    """What the record of a trigger tells of the runs that it started: their ids and why they ran."""
    if is_run(item):
        return
    for fired in _fired(item):
        if run := fired.get("activationId"):
            rule = str(fired.get("rule", "")).rpartition("/")[2]
            payload = item["response"].get("result")
            yield str(run), Origin(f"/{item['namespace']}/{item['name']}", rule, payload)


def is_run(item: Mapping[str, Any]) -> bool:
    """Whether an activation is that of an action, not the record of a trigger."""
    return "kind" in valued(item["annotations"])


def _fired(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a trigger's record says of each of its rules."""
    found = []
    for line in item["logs"]:
        try:
            one = jsontext.loads(line.encode())
        except jsontext.NotJson:
            continue
        if isinstance(one, dict):
            found.append(one)
    return found


def failed(item: Mapping[str, Any]) -> bool:
    """Whether a run failed, or a rule of a trigger could not start one."""
    if not item["response"].get("success", True):
        return True
    return not is_run(item) and any(one.get("success") is False for one in _fired(item))


def wanted(given: argparse.Namespace, item: Mapping[str, Any], origin: Origin) -> bool:
    """Whether an activation is one of those that were asked for."""
    if given.failed and not failed(item):
        return False
    own = f"/{item['namespace']}/{item['name']}"
    if given.action and not (is_run(item) and _is(given.action, valued(item["annotations"]).get("path"))):
        return False
    if given.trigger:
        return _is(given.trigger, origin.trigger if is_run(item) else own)
    return True


def _is(name: str, path: object) -> bool:
    """Whether `name`, as people give it, is the entity `path`, with its namespace."""
    return (
        isinstance(path, str)
        and qualified(name).lstrip("/").partition("/")[2] == path.lstrip("/").partition("/")[2]
    )


def told(item: Mapping[str, Any], origin: Origin, *, full: bool) -> Iterator[str]:
    """The lines that show one activation."""
    response, logs = item["response"], item["logs"]
    status = response.get("status", "success")
    if not is_run(item):
        yield from _head(f"{clock(item, full=full)} {paint(item['name'], 'bold')} fired", item)
        yield from _value("in", response.get("result"), full=full)
        for one in _fired(item):
            yield from _rule(one, full=full)
        return
    colour = "green" if status == "success" else "yellow" if status == "application error" else "red"
    took = f" in {item['duration']} ms" if "duration" in item else ""
    why = "".join(f"  {part}" for part in (origin.trigger and f"trigger {origin.trigger.rpartition('/')[2]}",
                                           origin.rule and f"rule {origin.rule}") if part)  # fmt: skip
    head = f"{clock(item, full=full)} {paint(item['name'], 'bold')} {paint(status, colour)}{took}{why}"
    yield from _head(head, item)
    if origin.payload is not None:
        yield from _value("in", origin.payload, full=full)
    result = response.get("result")
    error = result.get("error") if isinstance(result, dict) else None
    if status == "success" or error is None or (full and len(result) > 1):
        yield from _value("out", result, full=full)
    if status != "success" and error is not None:
        yield from _value("why", error, full=full, colour=colour)
    if valued(item["annotations"]).get("kind") == "sequence":
        logs = [f"ran {', '.join(logs)}"] if logs and full else []
    for line in logs:
        yield f"  {line if full or line[_TIME - 1 : _TIME] != ' ' else line[_TIME:]}"


def _rule(fired: Mapping[str, Any], *, full: bool) -> Iterator[str]:
    """What came of one rule of a trigger."""
    rule, action = (str(fired.get(key, "")).rpartition("/")[2] for key in ("rule", "action"))
    run = f" ({fired['activationId']})" if full and "activationId" in fired else ""
    yield f"  rule {rule}: {action}{run}"
    if fired.get("success") is False:
        yield from _value("why", fired.get("error", "it could not be started"), full=full, colour="red")


def _value(name: str, value: Any, *, full: bool, colour: str = "") -> Iterator[str]:
    """A value on one line, cut where the terminal ends; on as many as it takes in full."""
    if value is None or value == {}:
        return
    if full and not isinstance(value, str):
        first, *more = shown_json(value, indent=4).splitlines()
        yield f"  {name:<4}{first}"
        yield from (f"      {line}" for line in more)
        return
    text = value if isinstance(value, str) else shown_json(value)
    text = text if full else " ".join(text.split())
    room = max(width() - 6, _LEAST) if width() and not full else len(text)
    text = text if len(text) <= room else f"{text[: room - 1]}…"
    yield f"  {name:<4}{paint(text, colour) if colour else text}"


def _head(text: str, item: Mapping[str, Any]) -> Iterator[str]:
    """The first line, with the id; a terminal that is too narrow for both has it below."""
    shown = f"({item['activationId']})"
    if width() and len(text) + len(shown) >= width():
        yield from (text, f"  {shown}")
    else:
        yield f"{text} {shown}"


def clock(item: Mapping[str, Any], *, full: bool = True) -> str:
    """When it began, in the time zone of this machine; without the day if it was today."""
    began = time.localtime(item["start"] / 1000)
    today = not full and began[:3] == time.localtime()[:3]
    text = time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", began)
    return f"{text}.{item['start'] % 1000:03d}" if today else text
