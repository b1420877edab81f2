"""One alarm: when it is due, what a clock that jumps does to it. Pure.

Times are wall-clock seconds since the epoch and monotonic seconds. Of apscheduler this uses the
triggers: they tell the next time in one step, so a clock that jumps by years costs nothing. Its
scheduler lists every run missed in between, one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from edgewhisk.clock import offset
from edgewhisk.feed.heard import BEGINNING, Moment

GRACE: Final = 60.0  # seconds that a run may be late before it counts as missed
BACK: Final = 3 * 3600.0  # seconds that a clock may be set back without a daily run being repeated
Next = Callable[[datetime], datetime | None]  # the first time at or after


class Missed(StrEnum):
    """What to do about times that went by unnoticed."""

    SKIP = "skip"
    ONCE = "once"  # fire once for all of them


@dataclass(slots=True)
class Alarm:
    """One trigger that is fired by the clock."""

    payload: bytes
    next: Next
    period: float = 0.0  # seconds, of an interval: it goes by the monotonic clock
    most: int | None = None
    missed_policy: Missed = Missed.SKIP
    single: bool = False  # fires once, late rather than never
    dated: bool = False  # an interval with a start or stop date
    daily: bool = False  # names hours: what ran is not run again where the clock is set back a little
    fired: int = 0
    missed: int = 0
    last: float = 0.0  # wall, up to when every run was made or is none
    since: Moment = BEGINNING  # when it was added
    latest: Moment | None = None  # when it last fired, in this life
    due: float | None = None  # wall; of an interval monotonic; inf: when the clock is set; None: never again

    @property
    def keeps(self) -> bool:
        """Whether what it did must survive a restart."""
        return self.most is not None or self.single or self.missed_policy is Missed.ONCE

    def begin(self, wall: float, monotonic: float) -> None:
        """Plan the first run of this life; what went by since `last` is missed."""
        if (self.most is not None and self.fired >= self.most) or (self.single and self.fired):
            self.due = None
        elif not tells(wall) and (not self.period or self.dated):
            self.due = math.inf  # it names times, and nobody knows the time
        elif self.single:
            self.due = _stamp(self.next(_moment(0)))
        elif self.period:
            self.due = self._first_interval(wall, monotonic)
        else:
            self.due = _stamp(self.next(_moment(self._done(wall))))
            self.last = self.last or wall

    def jumped(self, by: float, wall: float, monotonic: float) -> None:
        """The wall clock was set, `by` seconds forward or (negative) back."""
        if self.period and not self.dated:
            return
        # Forward: `turn` sees what is late. Back: the plan of before may be years away, or at its end.
        if self.period or by < 0:
            self.begin(wall, monotonic)

    def ripe(self, wall: float, monotonic: float) -> bool:
        """Whether its time has come."""
        if self.due is None or (not tells(wall) and (not self.period or self.dated)):
            return False
        return (monotonic if self.period else wall) >= self.due

    def turn(self, wall: float, monotonic: float) -> bool:
        """Whether it is to be fired now; plans the next run."""
        if self.due == math.inf and tells(wall):
            self.begin(wall, monotonic)
        if self.due is None or not self.ripe(wall, monotonic):
            return False
        now = monotonic if self.period else wall
        late = now - self.due > GRACE and not self.single and self.missed_policy is Missed.SKIP
        self._plan(wall, now)
        if late:
            self.missed += 1
            return False
        self.fired += 1
        self.last = wall
        self.latest = Moment(int(wall * 1000), monotonic)
        if self.single or (self.most is not None and self.fired >= self.most):
            self.due = None
        return True

    def _done(self, wall: float) -> float:
        """Up to when every run was made: the next one is looked for after it."""
        made = math.floor(self.last) + 1.0
        if self.last > wall:  # the clock was set back; far: then `last` was nonsense
            return made if self.daily and self.last - wall <= BACK else wall
        return made if self.last and self.missed_policy is Missed.ONCE else wall

    def _plan(self, wall: float, now: float) -> None:
        if self.due is None:
            return
        if self.period:
            gone = math.floor((now - self.due) / self.period)
            self.missed += gone
            ahead = self.due + self.period * (gone + 1)
            # Half a second, lest rounding puts the last run behind the stop date.
            ends = self.dated and self.next(_moment(wall + ahead - now - 0.5)) is None
            self.due = None if ends else ahead
        else:
            self.due = _stamp(self.next(_moment(math.floor(wall) + 1)))

    def _first_interval(self, wall: float, monotonic: float) -> float | None:
        """When its first run is, in its old rhythm or at its start date; None behind its stop date."""
        if not tells(wall):
            return monotonic
        first = _stamp(self.next(_moment(wall)))
        return None if first is None else monotonic + max(0.0, first - wall)


def tells(wall: float) -> bool:
    """Whether a clock that says `wall`, in seconds since the epoch, may be right."""
    return offset.is_known(wall * 1000)


def _moment(stamp: float) -> datetime:
    return datetime.fromtimestamp(max(0.0, stamp), UTC)


def _stamp(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def restore(alarm: Alarm, document: dict[str, Any] | None) -> None:
    """Take over what an earlier life did."""
    if document:
        alarm.fired, alarm.missed = document["fired"], document["missed"]
        alarm.last = document["last"]


def document(alarm: Alarm) -> dict[str, Any]:
    """What must survive."""
    return {"fired": alarm.fired, "missed": alarm.missed, "last": alarm.last}
