"""A readable copy of a buffer, of a running gateway or a dead one.

Only reads, and takes no lock: segments are append-only, their lines tell by themselves whether they
are whole, and numbers tell what was seen already. One JSON object a line:

    {"lane": "normal", "number": 5, "synced": true, "activation": {...}}
    {"lane": "normal", "accepted": {...}}        an event that has not been run yet
    {"lane": "normal", "number": 6, "unreadable": "..."}     what is whole but no activation, in base64
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.clock.history import COLLECTION, ClockHistory
from edgewhisk.entity.annotations.lane import ERRORS, NORMAL, TELEMETRY
from edgewhisk.errors import UNREADABLE, StorageError
from edgewhisk.store.activations.log_state import CONFIRMED, EVENT, FINISHED, PASSED, LogState, event_id
from edgewhisk.store.documents.entity_store import REMOVED, WRITTEN
from edgewhisk.store.log.frames import ACTIVATION, RECORD_BLOCK, Frame, Scan, parse_name, scan, seed_of
from edgewhisk.store.log.log import HEADER, storage_error

_FOLDERS: Final = {NORMAL: "", ERRORS: ERRORS, TELEMETRY: TELEMETRY}


class Exported(NamedTuple):
    """One line, without its break; or what could not be read."""

    line: bytes = b""
    trouble: str = ""


def export(directory: Path, shelf: Path | None = None) -> Iterator[Exported]:
    """All lines of the buffer in `directory`; raises `StorageError` if there is none.

    `documents`: where it stands what is known of clocks, so that times are told right.
    """
    if not directory.is_dir():
        raise StorageError(f"there is no buffer in {directory}", hint="--config names the configuration")
    open_: dict[str, bytes] = {}
    finished: set[str] = set()
    boots = _boots(shelf) if shelf is not None and shelf.is_dir() else ClockHistory({})
    for lane, folder in _FOLDERS.items():
        if (directory / folder).is_dir():
            yield from _lane(directory / folder, lane, open_, finished, boots)
    for key, text in open_.items():
        if key not in finished:
            yield Exported(_accepted(text))


def _accepted(text: bytes) -> bytes:
    try:
        jsontext.loads(text)
    except ValueError:
        return b'{"lane":"normal","unreadable":"%b"}' % b64encode(text)
    return b'{"lane":"normal","accepted":%b}' % text


def _lane(
    directory: Path, lane: str, open_: dict[str, bytes], finished: set[str], history: ClockHistory
) -> Iterator[Exported]:
    (confirmed, passed), last, done = _confirmed(directory), 0, 0
    told: set[Path] = set()
    while True:
        paths = [path for path in _segments(directory) if _serial(path) >= done]
        for at, path in enumerate(paths):
            found, trouble = _read(path, paths[at + 1] if at + 1 < len(paths) else None)
            if trouble and path not in told:
                told.add(path)
                yield Exported(trouble=trouble)
            for frame in found.frames:
                _follow(frame, open_, finished)
                for number, text in enumerate(_texts(frame), frame.number):
                    if number > last:
                        last = number
                        synced = last <= confirmed and last not in passed
                        yield Exported(_line(lane, last, text, history, synced=synced))
        if not paths or done == _serial(paths[-1]):
            return
        done = _serial(paths[-1])  # look again: a running gateway may have gone on meanwhile


def _follow(frame: Frame, open_: dict[str, bytes], finished: set[str]) -> None:
    """Which events are unfinished."""
    with suppress(*UNREADABLE):  # what cannot be read finishes nothing
        if frame.op == EVENT:
            open_[event_id(frame.text)] = frame.text
        elif frame.op == FINISHED:
            finished.add(frame.text.decode())
        elif frame.records and open_:
            finished.update(frame.ids())


def _texts(frame: Frame) -> list[bytes]:
    """The records in a frame; the whole text of a record block that cannot be told apart."""
    if frame.op not in (ACTIVATION, RECORD_BLOCK):
        return []
    try:
        return frame.texts()
    except UNREADABLE:
        return [frame.text]


def _line(lane: str, number: int, text: bytes, history: ClockHistory, *, synced: bool) -> bytes:
    try:
        text = history.straight(text)
        jsontext.loads(text)
    except UNREADABLE:
        raw = b64encode(text)
        return b'{"lane":"%b","number":%d,"unreadable":"%b"}' % (lane.encode(), number, raw)
    return b'{"lane":"%b","number":%d,"synced":%b,"activation":%b}' % (
        lane.encode(),
        number,
        b"true" if synced else b"false",
        text,
    )


def _segments(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if parse_name(path.name) is not None)
    except OSError as error:
        raise storage_error(directory, error) from error


def _serial(path: Path) -> int:
    found = parse_name(path.name)
    return found[0] if found else 0


def _read(path: Path, following: Path | None) -> tuple[Scan, str]:
    """A segment's frames, and what is wrong with it; nothing of one that was dropped meanwhile."""
    try:
        data = path.read_bytes()
        found = scan(data, seed_of(path.name), _ended(path, following))
    except FileNotFoundError:
        return Scan([], 0), ""
    except OSError as error:
        return Scan([], 0), str(storage_error(path, error))
    if not path.exists():  # recycled while it was read
        return found, ""
    return found, f"{path}: {found.corrupt} damaged line(s) left out" if found.corrupt else ""


def _ended(path: Path, following: Path | None) -> int:
    """Where the next segment's header says that this one ended; 0 if that is not known."""
    if following is None:
        return 0
    try:
        with following.open("rb") as file:
            head = scan(file.readline(), seed_of(following.name)).frames
    except FileNotFoundError:
        return 0
    with suppress(*UNREADABLE):
        serial, end = jsontext.loads(head[0].text).get("ended", (0, 0))
        return int(end) if serial == _serial(path) else 0
    return 0


def _boots(shelf: Path) -> ClockHistory:
    """What the shelf says of clocks, as far as it can be read; see `artifacts`."""
    found: dict[int, tuple[str, dict[str, Any]]] = {}
    for path in _segments(shelf):
        for frame in _read(path, None)[0].frames:
            with suppress(*UNREADABLE):
                value = jsontext.loads(frame.text)
                if frame.op == WRITTEN and value["t"] == COLLECTION:
                    mark, document = value["d"]["key"], value["d"]["document"]
                    ClockHistory({mark: document}), int(document["number"])
                    found[frame.number] = mark, document
                elif frame.op == REMOVED and value == COLLECTION:
                    found.pop(frame.number, None)
    return ClockHistory(dict(sorted(found.values(), key=lambda entry: int(entry[1]["number"]))))


def _confirmed(directory: Path) -> tuple[int, frozenset[int]]:
    """How far the cloud has the records, and those that it was not sent: it refused them."""
    for path in reversed(_segments(directory)):
        found, _ = _read(path, None)
        log_state = LogState()
        for frame in found.frames:
            with suppress(*UNREADABLE):
                if frame.op == HEADER:
                    log_state.load(frame)
                elif frame.op in (CONFIRMED, PASSED):
                    log_state.apply(frame, 0)
        if log_state.confirmed or log_state.passed:
            return log_state.confirmed, frozenset(log_state.passed)
    return 0, frozenset()
