"""Reads a table of a TOML file key by key and collects what is wrong with it. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgewhisk.errors import Fault


class Table:
    """One table. Faulty values read as their default; `rest` reports keys that nobody asked for."""

    def __init__(self, value: object, where: str, path: str, faults: list[Fault]) -> None:
        """`where` is the file, `path` the dotted name of the table in it, "" for the whole."""
        self._where, self._path, self._faults = where, path, faults
        self._left: dict[str, Any] = {}
        self.given = isinstance(value, dict)
        if isinstance(value, dict):
            self._left = dict(value)
        elif value is not None:
            faults.append(Fault(where, path, "must be a table"))

    def __contains__(self, key: str) -> bool:
        """Whether a key is there that nobody asked for yet."""
        return key in self._left

    @property
    def keys(self) -> Sequence[str]:
        """Keys that nobody asked for yet."""
        return list(self._left)

    def fault(self, key: str, problem: str, example: str = "") -> None:
        """Report something about a key."""
        self._faults.append(Fault(self._where, self._dotted(key), problem, example))

    def table(self, key: str) -> Table:
        """A table in this one; empty if it is not there."""
        return Table(self._left.pop(key, None), self._where, self._dotted(key), self._faults)

    def tables(self, key: str) -> list[Table]:
        """An array of tables."""
        found = self._left.pop(key, [])
        if not isinstance(found, list):
            self.fault(key, "must be an array of tables", f"[[{self._dotted(key)}]]")
            return []
        return [
            Table(entry, self._where, f"{self._dotted(key)}[{at}]", self._faults)
            for at, entry in enumerate(found)
        ]

    def text(self, key: str, default: str | None = "", choices: Sequence[str] = ()) -> str:
        """Text; without a default it must be there."""
        value = self._left.pop(key, default)
        if choices and value not in choices:
            self.fault(key, f"must be one of {', '.join(choices)}, not {value!r}")
            return choices[0]
        if not isinstance(value, str):
            self.fault(key, "is missing" if value is None else f"must be text, not {value!r}")
            return ""
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self._left.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            self.fault(key, f"must be a list of texts, not {value!r}")
            return ()
        return tuple(value)

    def whole(self, key: str, default: int | None, least: int, most: int) -> int:
        """A whole number; without a default it must be there."""
        value = self._left.pop(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            problem = f"must be a whole number from {least} to {most}, not {value!r}"
            self.fault(key, "is missing" if value is None else problem)
            return least
        return value

    def number(self, key: str, default: float, least: float = -1e308, most: float = 1e308) -> float:
        """A number."""
        value = self._left.pop(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            self.fault(key, f"must be a number{_span(least, most)}, not {value!r}")
            return default
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false."""
        value = self._left.pop(key, default)
        if not isinstance(value, bool):
            self.fault(key, f"must be true or false, not {value!r}")
            return default
        return value

    def octets(self, key: str, default: bytes | None = b"") -> bytes:
        """Bytes, written as hexadecimal text."""
        value = self._left.pop(key, None)
        if value is None and default is not None:
            return default
        try:
            return bytes.fromhex(value)
        except (TypeError, ValueError):
            self.fault(key, f"must be bytes in hexadecimal, not {value!r}", f'{key} = "AA C0"')
            return b""

    def pattern(self, key: str) -> re.Pattern[str] | None:
        """A regular expression, if there is one."""
        value = self._left.pop(key, None)
        if value is None:
            return None
        try:
            return re.compile(value)
        except (re.error, TypeError) as error:
            self.fault(key, f"is no regular expression: {error}")
            return None

    def pair(self, key: str, default: tuple[float, float]) -> tuple[float, float]:
        """Two rising numbers."""
        value = self._left.pop(key, list(default))
        numbers = isinstance(value, list) and all(
            isinstance(part, int | float) and not isinstance(part, bool) for part in value
        )
        if not numbers or len(value) != 2 or not value[0] < value[1]:
            self.fault(key, f"must be two rising numbers, not {value!r}", f"{key} = [-40.0, 85.0]")
            return default
        return value[0], value[1]

    def wholes(self, key: str, count: int) -> tuple[int, ...]:
        """So many whole numbers."""
        value = self._left.pop(key, None)
        plain = isinstance(value, list) and all(type(part) is int for part in value)
        if not plain or len(value) != count:
            self.fault(key, f"must be {count} whole numbers, not {value!r}")
            return (0,) * count
        return tuple(value)

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of numbers."""
        value = self._left.pop(key, [])
        if not isinstance(value, list) or not all(
            isinstance(part, int | float) and not isinstance(part, bool) for part in value
        ):
            self.fault(key, f"must be a list of numbers, not {value!r}", f"{key} = [65535]")
            return ()
        return tuple(value)

    def mapping(self, key: str) -> Mapping[str, Any]:
        """A table of plain values."""
        value = self._left.pop(key, {})
        if not isinstance(value, dict) or not all(map(_plain, value.values())):
            self.fault(key, "must be a table of texts, numbers and switches", f"{key} = {{ON = true}}")
            return {}
        return value

    def rest(self) -> None:
        """Report the keys that nobody asked for."""
        for key in sorted(self._left):
            self.fault(key, "is not a key here")

    def _dotted(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key


def _plain(value: object) -> bool:
    """Whether JSON can carry it."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | bool) or (isinstance(value, int) and abs(value) < 1 << 63)


def _span(least: float, most: float) -> str:
    return f" from {least:g} to {most:g}" if (least, most) != (-1e308, 1e308) else ""
