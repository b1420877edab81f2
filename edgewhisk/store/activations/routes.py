"""Which lane's log a frame goes to, and what kind of work it is. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from edgewhisk.entity.annotations.lane import ERRORS, NORMAL, TELEMETRY
from edgewhisk.store.activations.log_state import (
    ABSORBED,
    CONFIRMED,
    EVENT,
    FINISHED,
    ORIGINS,
    PASSED,
    lost_frame,
    origins_frame,
    origins_of,
)
from edgewhisk.store.activations.loss import REJECTED, Loss
from edgewhisk.store.log.frames import ACTIVATION, RECORD_BLOCK, Frame

# Ops of work that concerns another lane: in its log they are the plain ones.
RECORDS: Final = {NORMAL: ACTIVATION, ERRORS: "X", TELEMETRY: "Y"}
SHEAVES: Final = {NORMAL: RECORD_BLOCK, ERRORS: "J", TELEMETRY: "K"}
MARKS: Final = {NORMAL: CONFIRMED, ERRORS: "P", TELEMETRY: "Q"}
PASSES: Final = {NORMAL: PASSED, ERRORS: "I", TELEMETRY: "M"}
_ROUTES: Final = {
    ops[lane]: (lane, ops[NORMAL])
    for ops in (RECORDS, SHEAVES, MARKS, PASSES)
    for lane in (ERRORS, TELEMETRY)
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


def without_records(frames: Iterable[Frame], now: int) -> list[Frame]:
    """Of a round for `normal`, what it takes though it takes no more records."""
    frames = list(frames)
    refused = ids_of(frames)
    if not refused:
        return frames
    kept = [frame for frame in frames if not frame.records]
    kept += [Frame(FINISHED, 0, found.encode()) for found in refused]
    if origins := [one for frame in frames if frame.records for one in origins_of(frame)]:
        kept.append(origins_frame(origins))
    return [*kept, lost_frame(Loss(NORMAL, REJECTED, len(refused), now, now))]
