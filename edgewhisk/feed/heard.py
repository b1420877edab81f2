"""When a source last gave an event: of each feed, for `status`."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from edgewhisk.spi import Clock


class Moment(NamedTuple):
    """A time on both clocks."""

    at: int  # ms since the epoch
    monotonic: float  # seconds


BEGINNING: Final = Moment(0, 0.0)


def this_moment(clock: Clock) -> Moment:
    """The time that it is."""
    return Moment(clock.now(), clock.monotonic())


def heard(last: Moment | None, since: Moment, now: float) -> dict[str, Any]:
    """When the last event came, ms since the epoch, and how long it has been silent: since then or `since`.

    Of silence, and of `now`, seconds.
    """
    return {
        "last_event": last.at if last else None,
        "silent_seconds": round(max(0.0, now - (last or since).monotonic), 1),
    }
