"""YAML as JSON can carry it, read as wskdeploy's parser reads it: dates and 12:30 are text.

`!!binary` is the text that its bytes are. What JSON has no word for is an error that names the place: NaN,
sets, bytes that are no text, two of a key, anchors that contain themselves or multiply without bound.
"""

from __future__ import annotations

import base64
import math
import re
from pathlib import Path
from typing import Any, Final

import yaml

from edgewhisk import jsontext
from edgewhisk.errors import BadRequest

DEEPEST: Final = 64  # levels
MAX_VALUES: Final = 100_000  # values, those of repeated aliases too
_INT: Final = re.compile(r"[-+]?(0b[0-1_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*|0[0-7_]+)")
_FLOAT: Final = re.compile(r"[-+]?(\d[\d_]*\.[\d_]*([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?|\d+[eE][-+]?\d+"
                           r"|\.(inf|Inf|INF))|\.(nan|NaN|NAN)")  # fmt: skip
_TAG: Final = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """Without YAML 1.1's dates and numbers of base 60, and with an eye on keys."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != f"{_TAG}merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in (f"{_TAG}timestamp", f"{_TAG}int", f"{_TAG}float")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}int", re.compile(f"({_INT.pattern})\\Z"), list("-+0123456789"))
_Loader.add_implicit_resolver(f"{_TAG}float", re.compile(f"({_FLOAT.pattern})\\Z"), list("-+0123456789."))
_Loader.add_constructor(f"{_TAG}timestamp", lambda _, node: str(node.value))
_Loader.add_constructor(f"{_TAG}binary", lambda _, node: _unpacked(str(node.value)))


def _unpacked(text: str) -> str:
    """The text that stands in base64; raises `ValueError` for bytes that are none."""
    return base64.b64decode("".join(text.split()), validate=True).decode()


def load(path: Path) -> Any:
    """The value of a file, made of what JSON has; raises `BadRequest` that names the file and the place."""
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise BadRequest(f"{path}: {error.strerror}") from error
    except RecursionError:
        raise BadRequest(f"{path} is nested too deeply: at most {DEEPEST} levels") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError, OverflowError) as error:
        raise BadRequest(f"{path} is no YAML: {error}") from error
    return _Plain(path).value(found, "", 0)


class _Plain:
    """Makes a value that JSON can carry; counts what it has made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0

    def value(self, given: Any, where: str, depth: int) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            raise self._wrong(where, f"is too much: more than {MAX_VALUES} values, with those of aliases")
        if depth > DEEPEST:
            raise self._wrong(where, f"is nested too deeply: at most {DEEPEST} levels")
        if isinstance(given, dict):
            inside = ((self._key(key, where), one) for key, one in given.items())
            return {key: self.value(one, _below(where, key), depth + 1) for key, one in inside}
        if isinstance(given, list):
            return [self.value(one, _below(where, str(at)), depth + 1) for at, one in enumerate(given)]
        return self._scalar(given, where)

    def _scalar(self, given: Any, where: str) -> Any:
        if isinstance(given, str):
            return self._text(given, where)
        if isinstance(given, float) and not math.isfinite(given):
            raise self._wrong(where, f"is {given}, which JSON has no number for")
        if given is not None and not isinstance(given, bool | int | float):
            kind = type(given).__name__
            raise self._wrong(where, f"is a {kind}, which JSON does not have: put it in quotes")
        return given

    def _text(self, given: str, where: str) -> str:
        if jsontext.sayable(given) != given:
            raise self._wrong(where, "holds half a surrogate pair, which is no text")
        return given

    def _key(self, key: Any, where: str) -> str:
        if not isinstance(key, str):
            shown = where or "(file)"
            raise self._wrong(shown, f"has the name {key!r}, which YAML takes for no text: put it in quotes")
        return self._text(key, where)

    def _wrong(self, where: str, problem: str) -> BadRequest:
        return BadRequest(f"{self._path}: {where or '(file)'} {problem}")


def _below(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
