"""Typed inputs of manifests, `name: {type, value, default}`. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from edgewhisk import jsontext

TYPES: Final = ("string", "integer", "float", "boolean", "json")  # of wskdeploy
_KINDS: Final = {str: "string", int: "integer", float: "float", bool: "boolean", dict: "json"}
_EMPTY: Final[Mapping[str, Any]] = {"string": "", "integer": 0, "float": 0.0, "number": 0, "boolean": False,
                                    "json": {}, "object": {}}  # fmt: skip


def nothing(kind: str) -> Any:
    """What an input of a type is without a value."""
    return _EMPTY.get(kind)


def is_nothing(value: Any) -> bool:
    """Whether a value is what its type is without one."""
    return value in ("", {}) or (value in (0, False) and isinstance(value, int | float))


def instead(value: Any, text: str) -> Any:
    """A text as a value of the type that an empty `value` is of; raises as `typed`."""
    return typed(_KINDS[type(value)], text)


def typed(kind: str, value: Any) -> Any:
    """A value as its type says; raises `ValueError`, `TypeError` or `OverflowError` for what it cannot be."""
    convert = _CONVERT.get(kind)
    return value if convert is None else convert(value)


def _truth(value: Any) -> bool:
    if str(value).lower() not in ("true", "false"):
        raise ValueError(value)
    return str(value).lower() == "true"


def _integer(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and value != int(value)):
        raise ValueError(value)
    return int(value)


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(found := float(value)):
        raise ValueError(value)
    return found


def _scalar(value: Any) -> Any:
    """A number stays one where the type says text, as in wskdeploy."""
    if isinstance(value, dict | list) or value is None:
        raise ValueError(value)
    return value


def _json(value: Any) -> Any:
    return jsontext.parse(value.encode()).value if isinstance(value, str) else value


_CONVERT: Final[Mapping[str, Callable[[Any], Any]]] = {
    "integer": _integer,
    "float": _finite,
    "number": _finite,
    "boolean": _truth,
    "string": _scalar,
    "json": _json,
}
