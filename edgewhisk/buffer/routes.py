"""Which lane's log a frame goes to, and what kind of work it is. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from edgewhisk.buffer.journal import ACTIVATION, SHEAF, Frame
from edgewhisk.buffer.ledger import ABSORBED, CONFIRMED, EVENT, ORIGINS
from edgewhisk.entity.lane import ERRORS, NORMAL, TELEMETRY

# Ops of work that concerns another lane: in its log they are the plain ones.
RECORDS: Final = {NORMAL: ACTIVATION, ERRORS: "X", TELEMETRY: "Y"}
SHEAVES: Final = {NORMAL: SHEAF, ERRORS: "J", TELEMETRY: "K"}
MARKS: Final = {NORMAL: CONFIRMED, ERRORS: "P", TELEMETRY: "Q"}
_ROUTES: Final = {
    ops[lane]: (lane, ops[NORMAL]) for ops in (RECORDS, SHEAVES, MARKS) for lane in (ERRORS, TELEMETRY)
}
_NEW: Final = (EVENT, ABSORBED, ORIGINS)  # besides records


def routed(frames: Iterable[Frame]) -> tuple[list[Frame], dict[str, list[Frame]]]:
    """What goes to `normal`, and to the others."""
    frames = list(frames)
    own: list[Frame] = []
    others: dict[str, list[Frame]] = {}
    if _ROUTES.keys().isdisjoint([frame.op for frame in frames]):
        return frames, others
    for frame in frames:
        if (route := _ROUTES.get(frame.op)) is None:
            own.append(frame)
        else:
            others.setdefault(route[0], []).append(
                Frame(route[1], frame.number, frame.text, about=frame.about)
            )
    return own, others


def is_new(frame: Frame) -> bool:
    """Whether a frame is of something that was not here, and not a mark on what is."""
    return frame.records > 0 or frame.op in _NEW


def ids_of(frames: Iterable[Frame]) -> list[str]:
    """The activation ids of the records among `frames`."""
    return [found for frame in frames if frame.records for found in frame.ids()]
