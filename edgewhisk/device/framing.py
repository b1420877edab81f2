"""Cuts what a port sends into frames. Pure: bytes in, frames out, whatever the chunks are."""

from __future__ import annotations


class LineFramer:
    """Lines that end with LF, CR before it or not. Empty ones are no frames."""

    def __init__(self, longest: int) -> None:
        """Lines over `longest` bytes are dropped up to their end, and counted."""
        self._longest = longest
        self._rest = b""
        self._skipping = False
        self.overlong = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are whole now, in order."""
        *lines, rest = (self._rest + data).split(b"\n")
        frames = []
        for line in lines:
            if self._skipping:
                self._skipping = False
            elif len(line) > self._longest:
                self.overlong += 1
            elif stripped := line.rstrip(b"\r"):
                frames.append(stripped)
        if len(rest) > self._longest and not self._skipping:
            self.overlong += 1
            self._skipping = True
        self._rest = b"" if self._skipping else rest
        return frames

    def reset(self) -> bool:
        """Forget an unfinished line; whether there was one."""
        torn = bool(self._rest)
        self._rest, self._skipping = b"", False
        return torn
