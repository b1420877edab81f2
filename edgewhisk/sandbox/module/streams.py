"""What a command reads and prints: the last line of stdout is its result, all else is log. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edgewhisk import jsontext
from edgewhisk.entity.invocation.message import LogLine

OVERHEAD: Final = 16  # bytes that a line counts beyond its text, as with guests: empty ones take room, too
LONGEST_LINE: Final = 2 << 20  # bytes; a longer one is cut


class Streams:
    """stdin, stdout and stderr of one call."""

    def __init__(self, stdin: bytes, log_limit: int, now: Callable[[], int]) -> None:
        """`log_limit` in bytes; `now` gives ms since the epoch."""
        self._stdin = stdin
        self._room = log_limit
        self._now = now
        self._partial = {"stdout": bytearray(), "stderr": bytearray()}
        self._candidate: LogLine | None = None  # the last whole line of stdout so far
        self.lines: list[LogLine] = []
        self.cut = False  # whether the log limit was reached

    def read(self, size: int) -> bytes:
        """The next bytes of stdin."""
        data, self._stdin = self._stdin[:size], self._stdin[size:]
        return data

    def write(self, stream: str, data: bytes) -> None:
        """Take what was printed."""
        *whole, rest = data.split(b"\n")
        partial = self._partial[stream]
        for line in whole:
            _extend(partial, line)
            self._line(stream, partial)
            partial.clear()
        _extend(partial, rest)

    def finish(self) -> bytes:
        """The result: the last line of stdout that is not empty. Lines without an end count."""
        for stream, partial in self._partial.items():
            if partial:
                self._line(stream, partial)
                partial.clear()
        found, self._candidate = self._candidate, None
        return found.text.encode() if found else b""

    def log(self, stream: str, text: str) -> None:
        """Add a line to the log, if the limit allows."""
        self._add(LogLine(self._now(), stream, text))

    def _line(self, stream: str, data: bytearray) -> None:
        line = LogLine(self._now(), stream, jsontext.decoded(bytes(data)).removesuffix("\r"))
        if stream == "stdout" and line.text.strip():
            line, self._candidate = self._candidate or line._replace(text=""), line
            if not line.text:
                return
        self._add(line)

    def _add(self, line: LogLine) -> None:
        self._room -= len(line.text) + OVERHEAD
        if self._room < 0:
            self.cut = True
        else:
            self.lines.append(line)


def _extend(partial: bytearray, data: bytes) -> None:
    partial += data[: LONGEST_LINE - len(partial)]
