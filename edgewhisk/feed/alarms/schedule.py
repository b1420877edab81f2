"""Cron lines, time zones and dates of alarms. Pure."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from edgewhisk.errors import FeedError, shown

_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FORMATS: Final = (  # of dates that are not ISO 8601: what JavaScript prints, and what people write
    "%a %b %d %Y %H:%M:%S GMT%z",
    "%a, %d %b %Y %H:%M:%S GMT",
    "%B %d, %Y %H:%M:%S",
    "%B %d, %Y",
    "%Y-%m",
    "%Y",
)


class CronLine(NamedTuple):
    """The fields of a cron line as apscheduler names them."""

    second: str
    minute: str
    hour: str
    day: str
    month: str
    day_of_week: str


def cron_line(text: object) -> CronLine:
    """Read five fields, or six with seconds first; raises `FeedError`.

    In cron Sunday is 0 and 7, for apscheduler it is 6; so days of the week are written as names.
    """
    fields = text.split() if isinstance(text, str) else []
    if len(fields) not in (5, 6):
        example = 'for example "*/5 * * * *"'
        raise FeedError(
            f"cron must have five fields, or six with seconds first, {example}, not {shown(text)}"
        )
    seconds = fields[0] if len(fields) == 6 else "0"
    minute, hour, day, month, days = fields[-5:]
    return CronLine(seconds, minute, hour, day, month, _week(days))


def alternatives(line: CronLine) -> tuple[CronLine, ...]:
    """The lines of which one has to fit.

    Where both the day of the month and that of the week are restricted, either is enough: crontab(5), and
    cron 1.8.2, which OpenWhisk's alarms use. What names every day (`*/1`, `1-31`, `0-6`) restricts nothing.
    """
    if line.day_of_week == "*" or _every_day(line.day):
        return (line,)
    return line._replace(day_of_week="*"), line._replace(day="*")


def _every_day(field: str) -> bool:
    """Whether a day of the month field names all of them; what is no field is told by who reads it."""
    days: set[int] = set()
    for part in field.split(","):
        match = re.fullmatch(r"(?:\*|([0-9]{1,2})(?:-([0-9]{1,2}))?)(?:/([0-9]{1,2}))?", part)
        if match is None:
            return False
        first, last, step = match.groups()
        low = int(first or 1)
        high = 31 if first is None or (step and last is None) else int(last or first)
        days.update(range(low, high + 1, max(1, int(step or 1))))
    return days.issuperset(range(1, 32))


def _week(field: str) -> str:
    parts = [_week_part(part) for part in field.lower().split(",")]
    days = {day for part in parts for day in part.split(",")}
    return "*" if "*" in days or days.issuperset(_DAYS) else ",".join(parts)


def _week_part(part: str) -> str:
    match = re.fullmatch(r"(\*|[0-7]|[a-z]{3})(?:-([0-7]|[a-z]{3}))?(?:/([1-7]))?", part)
    if match is None:
        raise FeedError(f"cron: {shown(part)} is no day of the week")
    first, last, step = match.groups()
    if first == "*" and step is None:
        return "*"
    low = 0 if first == "*" else _day(first)
    high = 6 if first == "*" else _day(last) if last else (6 if step else low)
    if high < low:
        high += 7
    return ",".join(dict.fromkeys(_DAYS[day % 7] for day in range(low, high + 1, int(step or 1))))


def _day(text: str) -> int:
    if text.isdigit():
        return int(text)
    if text not in _DAYS:
        raise FeedError(f"cron: {shown(text)} is no day of the week")
    return _DAYS.index(text)


def zone(name: object) -> ZoneInfo:
    """The time zone `name`; raises `FeedError`."""
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise FeedError(f"timezone {shown(name)} is unknown; example: Europe/Berlin") from None


def moment(key: str, value: object) -> datetime:
    """A date with its zone (UTC where none is said); raises `FeedError`."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            found = datetime.fromtimestamp(value / 1000, UTC)
        else:
            found = _read(str(value))
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        found.astimezone(UTC)  # raises where the zone moves it out of the years there are
    except (ValueError, OverflowError, OSError):
        raise FeedError(
            f"{key} must be a date such as 2027-01-31T23:59:00Z, or milliseconds since 1970, "
            f"not {shown(value)}"
        ) from None
    return found


def _read(text: str) -> datetime:
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(text)
    bare = text.partition(" (")[0]  # JavaScript writes the name of the zone behind it
    for form in _FORMATS:
        with contextlib.suppress(ValueError):
            return datetime.strptime(bare, form)  # noqa: DTZ007 - the caller knows what no zone means
    raise ValueError


def following(
    local: Callable[[datetime], datetime | None], zone: ZoneInfo, after: datetime, *, daily: bool
) -> datetime | None:
    """The first time at or after `after` that a cron line names in a zone.

    `local` knows no time zone: it tells the first local time at or after another, both labelled UTC.
    (apscheduler 3's own zones lose runs: midnight in Berlin on the day after summer time begins.)
    A line that names hours (`daily`) has each of its times once a day: the first of the two where the
    clock is set back, and the moment of the change where the clock leaps over it. Any other line goes
    on through the repeated hour.
    """
    at = (after + timedelta(microseconds=999_999)).replace(microsecond=0).astimezone(UTC)
    while True:
        offset = _offset(zone, at)
        found = local(at + offset)
        if found is None:
            return None
        moment = found - offset
        if _offset(zone, moment) != offset:
            change = _change(zone, at, moment)
            if daily and found < change + _offset(zone, change):
                return change
            at = change
        elif daily and moment.astimezone(zone).fold:
            at = moment + timedelta(seconds=1)
        else:
            return moment


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The first second of another offset than that of `before`; `after` has another."""
    offset = _offset(zone, before)
    low, high = int(before.timestamp()), int(after.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, datetime.fromtimestamp(middle, UTC)) == offset:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)
