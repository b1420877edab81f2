"""How long to wait before a source is tried again. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Growing pauses with jitter, so that a hundred gateways do not return in the same second."""

    first: float = 1.0  # seconds
    longest: float = 30.0
    _last: float = 0.0

    def pause(self, random: float) -> float:
        """The next pause; `random` is in [0, 1). Between `first` and three times the last one."""
        most = max(self.first, min(self.longest, self._last * 3))
        self._last = self.first + (most - self.first) * random if self._last else self.first
        return self._last

    def reset(self) -> None:
        """The source worked: begin with short pauses again."""
        self._last = 0.0
