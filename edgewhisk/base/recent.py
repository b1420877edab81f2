"""What was made for values used lately, bounded by its number and by its weight in bytes.

A bound on the number alone bounds no memory: an action's code may have 48 MB, its parameters one, a topic
64 KB. Actions are replaced and deleted, and what was made for them is never asked for again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A memory of the most recently kept. May be used from any thread.

    `get` is the dictionary's own: to find something takes no longer than in one. Who asks for order by use
    calls `touch`.
    """

    __slots__ = ("_heaviest", "_known", "_lock", "_most", "_weights", "get", "weight")

    def __init__(self, most: int, heaviest: int) -> None:
        """Of at most `most` values, which weigh at most `heaviest` bytes; the newest alone may weigh more."""
        self._most, self._heaviest = most, heaviest
        self._known: OrderedDict[K, V] = OrderedDict()
        self._weights: dict[K, int] = {}
        self._lock = threading.Lock()
        self.weight = 0  # bytes
        self.get = self._known.get

    def __len__(self) -> int:
        """How many there are."""
        return len(self._known)

    def __contains__(self, key: object) -> bool:
        """Whether there is one."""
        return key in self._known

    def keep(self, key: K, value: V, weight: int) -> list[tuple[K, V]]:
        """Remember a value; returns those that had to go for it, the oldest first."""
        with self._lock:
            self._drop(key)
            self._known[key] = value
            self._weights[key] = weight
            self.weight += weight
            gone = []
            while len(self._known) > max(1, self._most) or (
                self.weight > self._heaviest and len(self._known) > 1
            ):
                oldest = next(iter(self._known))
                gone.append((oldest, self._known[oldest]))
                self._drop(oldest)
            return gone

    def touch(self, key: K) -> None:
        """What is there is used now, and goes last."""
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)

    def drop(self, key: K) -> None:
        """Forget a value, if it is there."""
        with self._lock:
            self._drop(key)

    def drop_where(self, gone: Callable[[K], bool]) -> None:
        """Forget all whose key is such."""
        with self._lock:
            for key in [one for one in self._known if gone(one)]:
                self._drop(key)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._known.clear()
            self._weights.clear()
            self.weight = 0

    def _drop(self, key: K) -> None:
        if key in self._known:
            del self._known[key]
            self.weight -= self._weights.pop(key)
