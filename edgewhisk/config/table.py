"""Reads a table of values from outside key by key, and collects what is wrong with it. Pure.

Of the configuration, of device profiles, of the parameters of feeds and of shapes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from edgewhisk.errors import Fault, shown

Fits = Callable[[Any], bool]
_LONGEST: Final = 64  # characters of a key that a fault shows as it is
_MANY: Final = 50  # unknown keys that are named: for each, all known ones are compared


class Requirement(NamedTuple):
    """A fault of what was read as a whole, if `broken`."""

    broken: object
    key: str
    problem: str
    example: str = ""


def broken(rules: Iterable[Requirement], where: str) -> list[Fault]:
    """The faults among `rules`."""
    return [Fault(where, rule.key, rule.problem, rule.example) for rule in rules if rule.broken]


class Table:
    """One table. Faulty values read as their default; `rest` reports keys that nobody asked for."""

    def __init__(
        self, value: object, where: str, path: str, faults: list[Fault], examples: Mapping[str, str] = {}
    ) -> None:
        """`where` is the file, `path` the dotted name of the table in it, "" for the whole.

        `examples` by key, "" for the table itself: for faults that have none of their own.
        """
        self._where, self._path, self._faults = where, path, faults
        self._left: dict[str, Any] = {}
        self._asked: dict[str, None] = {}
        self._examples = examples
        self.given = isinstance(value, dict)
        if isinstance(value, dict):
            self._left = dict(value)
        elif value is not None:
            faults.append(Fault(where, path, "must be a table", self._examples.get("", "")))

    def __contains__(self, key: str) -> bool:
        """Whether a key is there that nobody asked for yet."""
        return key in self._left

    @property
    def keys(self) -> Sequence[str]:
        """Keys that nobody asked for yet."""
        return list(self._left)

    def fault(self, key: str, problem: str, example: str = "") -> None:
        """Report something about a key."""
        example = example or self._examples.get(key, "")
        self._faults.append(Fault(self._where, self._dotted(key), problem, example))

    def take(self, key: str, default: Any = None) -> Any:
        """The value of a key, whatever it is."""
        self._asked[key] = None
        return self._left.pop(key, default)

    def read(self, key: str, default: Any, fits: Fits, what: str, instead: Any = None, like: str = "") -> Any:
        """A value that `fits`; any other must be `what`, and reads as the default, or `instead` of None."""
        given = key in self._left
        value = self.take(key, default)
        if fits(value):
            return value
        self.fault(key, f"must be {what}, not {shown(value)}" if given else "is missing", like)
        return instead if default is None else default

    def table(self, key: str) -> Table:
        """A table in this one; empty if it is not there."""
        return Table(self.take(key), self._where, self._dotted(key), self._faults)

    def tables(self, key: str) -> list[Table]:
        """An array of tables."""
        found = self.take(key, [])
        if not isinstance(found, list):
            self.fault(key, "must be an array of tables", f"[[{self._dotted(key)}]]")
            return []
        return [
            Table(entry, self._where, f"{self._dotted(key)}[{at}]", self._faults)
            for at, entry in enumerate(found)
        ]

    def text(self, key: str, default: str | None = "", choices: Sequence[str] = ()) -> str:
        """Text; without a default it must be there."""
        if choices:
            return str(self.choice(key, default, choices))
        return str(self.read(key, default, is_text, "text", ""))

    def choice(self, key: str, default: Any, choices: Sequence[Any]) -> Any:
        """One of some values; without a default it must be there."""
        value = self.take(key, default)
        if not isinstance(value, bool) and value in choices:
            return choices[choices.index(value)]
        names = list(map(str, choices))
        what = " or ".join(names) if len(names) < 3 else f"one of {', '.join(names)}"
        self.fault(key, f"must be {what}, not {shown(value)}")
        return choices[0]

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(self.read(key, [], lambda value: _is_list(value, is_text), "a list of texts"))

    def whole(self, key: str, default: int | None, least: int = 0, most: int | None = None) -> int:
        """A whole number, of any size if no `most` is given; without a default it must be there."""

        def fits(value: Any) -> bool:
            return _is_whole(value) and (most is None or least <= value <= most)

        span = "" if most is None else f" from {least} to {most}"
        return int(self.read(key, default, fits, f"a whole number{span}", least))

    def number(self, key: str, default: float, least: float = -1e308, most: float = 1e308) -> float:
        """A number."""
        what = f"a number{_span(least, most)}"
        value: float = self.read(key, default, lambda one: is_number(one) and least <= one <= most, what)
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false."""
        return bool(self.read(key, default, lambda value: isinstance(value, bool), "true or false"))

    def octets(self, key: str, default: bytes | None = b"") -> bytes:
        """Bytes, written as hexadecimal text."""
        value = self.take(key)
        if value is None and default is not None:
            return default
        try:
            return bytes.fromhex(value)
        except (TypeError, ValueError):
            self.fault(key, f"must be bytes in hexadecimal, not {shown(value)}", f'{key} = "AA C0"')
            return b""

    def pattern(self, key: str) -> re.Pattern[str] | None:
        """A regular expression, if there is one."""
        value = self.take(key)
        if value is None:
            return None
        try:
            return re.compile(value)
        except (re.error, TypeError) as error:
            self.fault(key, f"is no regular expression: {error}")
            return None

    def pair(self, key: str, default: tuple[float, float]) -> tuple[float, float]:
        """Two rising numbers."""

        def fits(value: Any) -> bool:
            return _is_list(value, is_number, 2) and value[0] < value[1]

        like = f"{key} = [-40.0, 85.0]"
        low, high = self.read(key, list(default), fits, "two rising numbers", like=like)
        return low, high

    def wholes(self, key: str, count: int) -> tuple[int, ...]:
        """So many whole numbers."""
        zeros = (0,) * count
        return tuple(
            self.read(key, None, lambda one: _is_list(one, _is_whole, count), f"{count} whole numbers", zeros)
        )

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of numbers."""
        like = f"{key} = [65535]"
        return tuple(self.read(key, [], lambda one: _is_list(one, is_number), "a list of numbers", like=like))

    def mapping(self, key: str) -> Mapping[str, Any]:
        """A table of plain values."""
        like = f"{key} = {{ON = true}}"
        what = "a table of texts, numbers and switches"
        found: Mapping[str, Any] = self.read(key, {}, _is_plain, what, like=like)
        return found

    def rest(self, known: Collection[str] = ()) -> None:
        """Report the keys that nobody asked for, and nobody will: they are not `known` either."""
        if not (unknown := sorted(set(self._left) - set(known))):
            return
        from difflib import get_close_matches  # for a mistake only

        names = sorted({*self._asked, *known})
        for key in unknown[:_MANY]:
            near = get_close_matches(key[:_LONGEST], names, n=1)
            other = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
            self.fault(key, f"is not a key; {other}")
        if unknown[_MANY:]:
            self.fault(unknown[_MANY], f"is not a key, like {len(unknown) - _MANY - 1} others")

    def _dotted(self, key: str) -> str:
        name = key if key.isprintable() and len(key) <= _LONGEST else shown(key)
        return f"{self._path}.{name}" if self._path else name


def is_number(value: object) -> bool:
    """Whether it is a number: a switch is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_text(value: object) -> bool:
    """Whether it is text."""
    return isinstance(value, str)


def _is_whole(value: object) -> bool:
    return type(value) is int


def _is_list(value: Any, fits: Fits, count: int | None = None) -> bool:
    return isinstance(value, list) and all(map(fits, value)) and count in (None, len(value))


def _is_plain(value: object) -> bool:
    """Whether it is a table of what JSON can carry."""
    return isinstance(value, dict) and all(
        isinstance(one, str | bool)
        or (math.isfinite(one) if isinstance(one, float) else _is_whole(one) and abs(one) < 1 << 63)
        for one in value.values()
    )


def _span(least: float, most: float) -> str:
    return f" from {least:g} to {most:g}" if (least, most) != (-1e308, 1e308) else ""
