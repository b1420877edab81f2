"""When messages of a connection wait for company, which halves what each costs to wake for. Pure.

A message that comes alone costs ten times what it costs among others: the process is woken, and finds
its caches cold. At a thousand a second the next one is a millisecond away. So where they come in that
quickly, the kernel is asked to wake the gateway for some together. Sources that send the next message
when they have the answer to the last bring no company; where waiting shows to be in vain, it ends.
"""

from __future__ import annotations

from typing import Final

MAX_DELAY: Final = 0.003  # seconds that a message may wait
ENOUGH_MESSAGES: Final = 8  # messages that are company enough
_NEARLY: Final = 0.25  # of a message may be missing: clocks of sources are not exact
_WEIGHT: Final = 0.1  # of the newest in the running means
_TRUST: Final = 4  # waits in vain, more than others, after which there are none
_PAUSE: Final = 16  # chunks without a wait then; doubled each time, until a wait was worth it
_LONGEST_PAUSE: Final = 8192


class CoalescingPolicy:
    """Of one connection."""

    def __init__(self) -> None:
        """Nothing has come."""
        self._interval = 1.0  # seconds between two messages, the running mean
        self.size = 0.0  # bytes of one message, the running mean
        self._last = 0.0  # seconds; when messages came last
        self._trust = _TRUST
        self._pause = _PAUSE
        self._left = 0  # chunks without a wait yet to come

    def came(self, count: int, size: int, now: float) -> int:
        """A chunk brought `count` messages, one at least, in `size` bytes at `now` (seconds).

        How many bytes the next ones should wait for, `MAX_DELAY` at most; 0: they should not.
        """
        interval = min(1.0, now - self._last) / count
        self._interval += _WEIGHT * (interval - self._interval)
        self.size += _WEIGHT * (size / count - self.size) if self.size else size / count
        self._last = now
        if self._left:
            self._left -= 1
            return 0
        expected = min(ENOUGH_MESSAGES, int(MAX_DELAY / max(self._interval, 1e-6) + _NEARLY))
        if expected < 2 or count >= ENOUGH_MESSAGES:
            return 0
        return int((expected - 0.5) * self.size)  # sizes vary: the last may be smaller

    def waited(self, *, well: bool) -> None:
        """A wait ended: `well` if as many bytes came."""
        if well:
            self._trust = min(_TRUST, self._trust + 1)
            self._pause = _PAUSE
            return
        self._trust -= 1
        if self._trust <= 0:
            self._trust, self._left = _TRUST // 2, self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
