"""What the alarms feeds are asked for, judged in the order and the words of OpenWhisk's package alarms. Pure.

What upstream says is the text of an error; what is wrong beyond that, and what only this gateway asks for, is
its hint. `now` is in milliseconds since 1970, None while nobody knows the time: then no date is over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from edgewhisk.errors import FeedError, ServiceError, shown
from edgewhisk.feed.alarms import schedule

ALARM: Final = "alarms/alarm"
INTERVAL: Final = "alarms/interval"
ONCE: Final = "alarms/once"
FIRST: Final = 30_000  # milliseconds until an interval without a start date begins, as upstream
_SPAN: Final = {"trigger_payload", "startDate", "stopDate"}
_CHANGED: Final[Mapping[str, set[str]]] = {  # what an UPDATE may change
    ALARM: {*_SPAN, "cron", "timezone", "strict", "missed"},
    INTERVAL: {*_SPAN, "minutes", "seconds"},
    ONCE: {"trigger_payload", "date", "deleteAfterFire"},
}
_CREATED: Final[Mapping[str, set[str]]] = {  # and what only a CREATE is asked for
    ALARM: {"maxTriggers", "limitCronFields"},
    INTERVAL: {"maxTriggers"},
    ONCE: set(),
}
WHEN: Final = ("start", "dateChanged")  # stored parameters that tell when it was asked for
_INACTIVE: Final = ("finished", "paused", "failed")  # states
_DELETES: Final = ("false", "true", "rules")
_EMPTY: Final = {"trigger_payload", "timezone", "strict"}  # what is kept though it is empty
_LONGEST: Final = 10 * 365 * 86_400  # seconds of an interval
_NAMED: Final = 10  # parameters that are ignored and named
_CUT: Final = 200  # characters of a value that an error shows


def create(action: str, given: Mapping[str, Any], now: int | None) -> dict[str, Any]:
    """Parameters to be stored for a new alarm; raises `ServiceError`."""
    given = _said(given)
    payload = {"trigger_payload": _payload(given.get("trigger_payload", ""))}
    if action == ONCE:
        if "date" not in given:
            raise ServiceError("alarms once trigger feed is missing the date parameter")
        return {**payload, **_once(given, now)}
    if action == INTERVAL:
        pace = _pace(given)
        if not pace:
            raise ServiceError("interval trigger feed is missing the minutes parameter", hint="or seconds")
    else:
        if "cron" not in given:
            raise ServiceError("alarms trigger feed is missing the cron parameter")
        pace = {"timezone": "UTC", "missed": "skip", **_cron(given, {})}
    dates = _start(given, now)
    if not dates and now is not None and "minutes" in pace:
        dates = {"start": now + FIRST}
    most = _most(action, given)
    dates |= _stop(given, dates.get("startDate") or dates.get("start"), now)
    return {**payload, **pace, **dates, **most}


def change(
    action: str, before: Mapping[str, Any], given: Mapping[str, Any], now: int | None
) -> dict[str, Any]:
    """Parameters to be stored after an UPDATE; what is empty changes nothing. Raises `ServiceError`."""
    given = _said(given)
    payload = given.get("trigger_payload")
    changed = {"trigger_payload": _payload(payload)} if payload else {}
    if action == ONCE:
        changed |= _once(given, now)
    else:
        changed |= _pace(given) if action == INTERVAL else _cron(given, before)
        changed |= _start(given, now)
        start = changed.get("startDate") or before.get("startDate") or before.get("start")
        changed |= _stop(given, start, now)
        if "startDate" in changed and "stopDate" not in changed and before.get("stopDate"):
            _check_order(changed["startDate"], before["stopDate"])
    if not changed:
        raise ServiceError("no updatable parameters were specified")
    dropped = {"start"} if "startDate" in changed else set()
    dropped |= {"minutes"} if "seconds" in changed else set()
    return {**{key: value for key, value in before.items() if key not in dropped}, **changed}


def warnings(action: str, given: Mapping[str, Any], *, changing: bool) -> list[str]:
    """What is said of parameters that mean nothing to an alarm of this kind, or to an UPDATE."""
    import difflib  # loaded with the first odd parameter

    known = _CHANGED[action] if changing else _CHANGED[action] | _CREATED[action]
    ignored = [key for key in given if key not in known]
    told = []
    for key in ignored[:_NAMED]:
        near = difflib.get_close_matches(key[:_CUT], known, 1)
        more = f"; did you mean {near[0]!r}?" if near else ""
        told.append(f"parameter {shown(key)} means nothing to {action}, and is ignored{more}")
    return [*told, *([f"and {len(ignored) - _NAMED} more"] if len(ignored) > _NAMED else [])]


def config(action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What READ tells of stored parameters: upstream's keys, and ours."""
    found = {key: value for key, value in parameters.items() if key not in WHEN}
    found["payload"] = parameters.get("trigger_payload", {})
    found["strict"] = parameters.get("strict", False)
    if action == INTERVAL and "seconds" in parameters:
        if parameters["seconds"] % 60 == 0:
            found["minutes"] = parameters["seconds"] // 60
        if "start" in parameters:
            found["startDate"] = parameters["start"]
    return found


def status(action: str, parameters: Mapping[str, Any], state: object) -> dict[str, Any]:
    """What READ tells, beside ours, of an alarm that is in a state: upstream's keys."""
    found: dict[str, Any] = {"active": state not in _INACTIVE}
    if "dateChanged" in parameters:
        changed = datetime.fromtimestamp(parameters["dateChanged"] / 1000, UTC)
        found |= {"dateChanged": parameters["dateChanged"], "dateChangedISO": f"{changed:%Y-%m-%dT%H:%M:%SZ}"}
    if state == "finished":
        last = f"firing last scheduled {'cron' if action == ALARM else 'interval'} trigger"
        why = "reaching max triggers" if "maxTriggers" in parameters else last
        why = "firing once" if action == ONCE else why
        found["reason"] = {"kind": "AUTO", "message": f"Automatically disabled after {why}"}
    return found


def unreadable(parameters: Mapping[str, Any], why: str) -> ServiceError:
    """What is said of a cron line that says nothing."""
    return ServiceError(f"cron pattern '{_text(parameters.get('cron'))}' is not valid", hint=why)


def never(parameters: Mapping[str, Any]) -> ServiceError:
    """What is said of an alarm that would never fall due."""
    if "stopDate" not in parameters:
        return unreadable(parameters, "it would never fall due: there is no such date")
    return ServiceError("the first scheduled trigger fire is not until after the stop date")


def _said(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given without what is empty in JavaScript's eyes, where that says nothing."""
    return {key: value for key, value in given.items() if key in _EMPTY or value or value in ([], {})}


def _once(given: Mapping[str, Any], now: int | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "date" in given:
        _check_date("date", given["date"], now)
        found["date"] = given["date"]
    if "deleteAfterFire" in given:
        deletes = _text(given["deleteAfterFire"]).strip().lower()
        if deletes not in _DELETES:
            raise ServiceError(f"deleteAfterFire parameter must be one of [{', '.join(_DELETES)}].")
        found["deleteAfterFire"] = deletes
    return found


def _pace(given: Mapping[str, Any]) -> dict[str, Any]:
    minutes, seconds = given.get("minutes"), given.get("seconds")
    if minutes is not None and seconds is not None:
        raise ServiceError("give either minutes, or (an extension for sensors) seconds")
    if minutes is not None:
        whole = _integer(minutes)
        if whole is None:
            raise ServiceError("the minutes parameter must be an integer")
        if whole < 1:
            raise ServiceError("the minutes parameter must be an integer greater than zero")
        found = {"minutes": whole, "seconds": whole * 60}
    elif seconds is not None:
        whole = _integer(seconds)
        if whole is None or whole < 1:
            raise ServiceError(f"seconds must be a whole number from 1 on, not {shown(seconds)}")
        found = {"seconds": whole}
    else:
        return {}
    if found["seconds"] > _LONGEST:
        raise ServiceError("the interval is longer than ten years")
    return found


def _cron(given: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """What is given of cron line, time zone and the like; `before` has what is not."""
    line = given.get("cron", before.get("cron"))
    zone = given.get("timezone") or before.get("timezone") or "UTC"
    try:
        schedule.zone(zone)
    except FeedError as error:
        raise ServiceError("Invalid timezone.", hint=str(error)) from error
    try:
        schedule.cron_line(line)
    except FeedError as error:
        raise ServiceError(f"cron pattern '{_text(line)}' is not valid", hint=str(error)) from error
    if "cron" in given and "limitCronFields" in given and _has_seconds(str(line)):
        raise ServiceError("cron pattern is limited to 5 fields with 1 minute as the finest granularity")
    missed = given.get("missed", "skip")
    if missed not in ("skip", "once"):
        raise ServiceError(f"missed must be skip or once, not {shown(missed)}")
    changing = bool(before)
    kept = {key: given[key] for key in ("cron", "missed") if key in given}
    kept |= (
        {"timezone": given["timezone"]}
        if given.get("timezone") or ("timezone" in given and not changing)
        else {}
    )
    return kept | ({"strict": given["strict"]} if "strict" in given else {})


def _has_seconds(line: str) -> bool:
    fields = line.split()
    return len(fields) > 5 and fields[-6] != "0"


def _start(given: Mapping[str, Any], now: int | None) -> dict[str, Any]:
    if "startDate" not in given:
        return {}
    _check_date("startDate", given["startDate"], now)
    return {"startDate": given["startDate"]}


def _stop(given: Mapping[str, Any], start: Any, now: int | None) -> dict[str, Any]:
    if "stopDate" not in given:
        return {}
    stop = given["stopDate"]
    found = _check_date("stopDate", stop, now)
    if start and found <= schedule.moment("startDate", start):
        told = f"must be greater than the startDate parameter '{_text(start)}'"
        raise ServiceError(f"stopDate parameter '{_text(stop)}' {told}")
    return {"stopDate": stop}


def _check_order(start: Any, stop: Any) -> None:
    if schedule.moment("startDate", start) >= schedule.moment("stopDate", stop):
        raise ServiceError(
            f"startDate parameter '{_text(start)}' must be less than the stopDate parameter '{_text(stop)}'"
        )


def _check_date(key: str, value: Any, now: int | None) -> datetime:
    try:
        found = schedule.moment(key, value)
    except FeedError as error:
        raise ServiceError(
            f"{key} parameter '{_text(value)}' is not a valid Date", hint=str(error)
        ) from error
    if now is not None and found <= datetime.fromtimestamp(now / 1000, UTC):
        raise ServiceError(f"{key} parameter '{_text(value)}' must be in the future")
    return found


def _most(action: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """How often it fires at most: none and less than one set no bound."""
    if "maxTriggers" not in given:
        return {}
    value = given["maxTriggers"]
    if "stopDate" in given:
        raise ServiceError(
            "maxTriggers is not supported for the interval trigger feed"
            if action == INTERVAL
            else "maxTriggers is not allowed when the stopDate parameter is specified"
        )
    whole = _integer(value)
    if whole is None:
        raise ServiceError(f"maxTriggers must be a whole number, not {shown(value)}")
    return {"maxTriggers": whole} if whole > 0 else {}


def _integer(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,15}(?:\.0*)?", value.strip()):
        return int(value.partition(".")[0])
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _payload(value: Any) -> dict[str, Any]:
    """The parameters of the event: an event is an object, so anything else is its `payload`."""
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"payload": value}


def _text(value: object) -> str:
    """A value as upstream puts it into a text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        value = ",".join("" if isinstance(one, list | dict) else _text(one) for one in value[:_CUT])
    elif isinstance(value, dict):
        return "[object Object]"
    text = str(value)
    return text if len(text) <= _CUT else f"{text[:_CUT]}..."
