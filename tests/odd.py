"""Odd values: JSON that one reader takes and another does not. For every door.

`SAMPLES` are values, `TEXTS` texts that are JSON, `TOO_DEEP` and `BROKEN` texts that are refused; each with a
name. `values()` and `objects()` are hypothesis strategies, `tidy` tells what the contract of
`edgewhisk.jsontext` makes of a value.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

from hypothesis import strategies as st

LEVELS: Final = 1000  # what is taken


def nested(levels: int, inner: Any = 1, *, key: str | None = None) -> Any:
    """A value within so many lists, or objects with the one `key`."""
    value = inner
    for _ in range(levels):
        value = [value] if key is None else {key: value}
    return value


def nested_text(levels: int, inner: str = "1", *, key: str | None = None) -> str:
    """As `nested`, as text: also where a writer would give up."""
    return (
        "[" * levels + inner + "]" * levels if key is None else f'{{"{key}":' * levels + inner + "}" * levels
    )


SAMPLES: Final[dict[str, Any]] = {
    "lone high surrogate": "a\ud800b",
    "lone low surrogate": "\udc00",
    "swapped surrogates": "\udc00\ud800",
    "a pair in halves": "\ud83d\ude00",
    "surrogate key": {"\ud800": 1},
    "keys alike once tidied": {"a\ud800": 1, "a?": 2},
    "zero character": "a\0b",
    "controls": "\x01\x1e\x1f\x7f\u0085\u2028\u2029\ufeff",
    "empty": {},
    "empty key": {"": {"": ""}},
    "beyond 64 bits": 2**64 + 1,
    "below 64 bits": -(2**63) - 1,
    "10**30": 10**30,
    "beyond a double": 10**400,
    "below a double": -(10**400),
    "nan": math.nan,
    "infinity": math.inf,
    "tiny": 5e-324,
    "minus zero": -0.0,
    "nested 254": nested(254),
    "nested 255": nested(255),
    "nested 500 objects": nested(500, key="a"),
    "nested 990": nested(990),
    "odd within deep": nested(300, {"s": "\ud800", "n": 10**30}),
    "wide": list(range(3000)),
    "long": "x" * 70_000,
    "many lists": [[]] * 3000,
}
TEXTS: Final[dict[str, str]] = {
    "lone surrogate": '{"s":"a\\ud800b"}',
    "upper case surrogate": '{"s":"\\uDC00\\uD83D"}',
    "escaped backslash before u": '{"s":"\\\\ud800"}',
    "surrogate behind a backslash": '{"s":"\\\\\\ud800"}',
    "surrogate key": '{"\\ud800":1}',
    "pair": '{"s":"\\ud83d\\ude00"}',
    "equal keys": '{"a":1,"a":2}',
    "integer beyond 64 bits": '{"n":123456789012345678901234567890}',
    "number beyond a double": '{"n":1e400,"m":-1E+999}',
    "integer beyond a double": '{"n":' + "1" * 400 + "}",
    "1000 levels": nested_text(LEVELS, key="a"),
    "wide": '{"a":[' + ",".join(["{}"] * 3000) + "]}",
    "brackets in a string": '{"a":"' + "[{" * 3000 + '"}',
    "line breaks": '\r\n{\n"a":\r1}\n',
    "zero character": '{"a":"\\u0000"}',
}
TOO_DEEP: Final[dict[str, str]] = {
    "1001 levels": nested_text(LEVELS + 1, key="a"),
    "1022 levels": nested_text(1022, key="a"),
    "1025 levels": nested_text(1025, key="a"),
    "100,000 levels": nested_text(100_000, key="a"),
    "a list within": '{"a":' + nested_text(LEVELS) + "}",
}
BROKEN: Final[dict[str, str]] = {
    "NaN": '{"a":NaN}',
    "Infinity": '{"a":-Infinity}',
    "byte order mark": '\ufeff{"a":1}',
    "nothing": "",
    "half": '{"a":',
    "two": '{"a":1}{"b":2}',
    "zero byte behind": '{"a":1}\0',
    "raw line break in a string": '{"a":"b\nc"}',
    "comma": '{"a":1,}',
    "leading zero": '{"a":01}',
    "half a surrogate escape": '{"a":"\\ud8"}',
}
_texts = st.text(st.characters(exclude_categories=()), max_size=8)  # all characters, surrogates too
_numbers = st.one_of(
    st.integers(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.sampled_from([2**63, 2**64, -(2**63) - 1]),
)
_scalars = st.one_of(st.none(), st.booleans(), _numbers, _texts, st.sampled_from(list(SAMPLES.values())))


def values(most_levels: int = LEVELS) -> st.SearchStrategy[Any]:
    """Odd JSON values that nest up to `most_levels`."""
    shallow = st.recursive(
        _scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
        max_leaves=12,
    )
    deep = st.builds(
        nested, st.integers(0, most_levels), _texts, key=st.none() | st.sampled_from(["a", "\ud800"])
    )
    return st.one_of(shallow, deep).filter(lambda value: depth(value) <= most_levels)


def objects(most_levels: int = LEVELS) -> st.SearchStrategy[dict[str, Any]]:
    """Odd JSON objects: parameters, results."""
    return st.dictionaries(_texts, values(most_levels - 1), max_size=4)


def depth(value: Any) -> int:
    """How many levels a value nests."""
    most, todo = 0, [(value, 0)]
    while todo:
        one, level = todo.pop()
        if isinstance(one, dict | list):
            most = max(most, level + 1)
            todo += [(item, level + 1) for item in (one.values() if isinstance(one, dict) else one)]
    return most


def tidy(value: Any) -> Any:
    """What is read of a value once it has come through a door."""
    whole: list[Any] = [None]
    todo: list[tuple[Any, Any, Any]] = [(whole, 0, value)]
    while todo:
        where, key, one = todo.pop()
        if isinstance(one, dict):
            where[key] = made = {_tidy_text(name): item for name, item in one.items()}
            todo += [(made, name, item) for name, item in made.items()]
        elif isinstance(one, list):
            where[key] = filled = list(one)
            todo += [(filled, at, item) for at, item in enumerate(one)]
        else:
            where[key] = _tidy_text(one) if isinstance(one, str) else _tidy_number(one)
    return whole[0]


def _tidy_number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return value
    try:
        return float(value) if math.isfinite(float(value)) else None
    except OverflowError:
        return None


def _tidy_text(text: str) -> str:
    units = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")  # pairs joined
    return units.encode(errors="replace").decode()


def text_of(value: Any) -> str:
    """The JSON text of a value as a device or a client may write it: surrogates escaped, NaN bare."""
    parts: list[str] = []
    todo: list[Any] = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, _Text):
            parts.append(one)
        elif isinstance(one, list):
            todo += [_Text("]"), *_between([[item] for item in reversed(one)]), _Text("[")]
        elif isinstance(one, dict):
            members = [[item, _Text(f"{json.dumps(key)}:")] for key, item in reversed(one.items())]
            todo += [_Text("}"), *_between(members), _Text("{")]
        else:
            parts.append(json.dumps(one))
    return "".join(parts)


class _Text(str):
    __slots__ = ()


def _between(groups: list[list[Any]]) -> list[Any]:
    found: list[Any] = []
    for group in groups:
        found += [*group, _Text(",")]
    return found[:-1]
