"""Home Assistant's value templates, in the forms that devices send. Pure.

Source: Home Assistant documentation, "Templating", and Jinja's "List of Builtin Filters". Understood is a
path into `value_json`, or `value`, with filters, and the question whether the path is there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from edgewhisk.device.document import ABSENT, at

_WORD: Final = r"(?:'[^']*'|\"[^\"]*\")"
_PATH: Final = rf"(?:value_json|value)(?:\.get\(\s*{_WORD}\s*\)|\.\w+|\[\s*(?:{_WORD}|\d+)\s*\])*"
_LITERAL: Final = re.compile(
    rf"(?:default\s*=\s*)?({_WORD}|[+-]?\d+(?:\.\d+)?|true|false|none)", re.IGNORECASE
)
_CALL: Final = r"\|\s*(\w+)\s*(?:\(([^()]*)\)\s*)?"
_EXPRESSION: Final = rf"({_PATH})\s*((?:{_CALL})*)"
_PLAIN: Final = re.compile(rf"\{{\{{-?\s*{_EXPRESSION}-?\}}\}}")
_IF: Final = re.compile(
    rf"\{{%-?\s*if\s+({_PATH})\s+is\s+defined\s*-?%\}}\s*(\{{\{{.*\}}\}})\s*\{{%-?\s*endif\s*-?%\}}"
)
_STEP: Final = re.compile(
    r"\.get\(\s*['\"]([^'\"]*)['\"]\s*\)|\.(\w+)|\[\s*(?:'([^']*)'|\"([^\"]*)\"|(\d+))\s*\]"
)
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{0,15})?(?:[eE][+-]?[0-9]{1,2})?")
_WORDS: Final = {"true": True, "false": False, "none": None}


class NoTemplate(ValueError):
    """A template is more than is understood here, or cannot be applied; says why."""


class ValueTemplate(NamedTuple):
    """How a state is in a message."""

    path: tuple[str, ...] | None = None  # None: the whole message
    filters: tuple[tuple[str, Any], ...] = ()  # with their argument; ABSENT: without
    needs: tuple[str, ...] | None = None  # where something must be

    def find(self, document: Any) -> Any:
        """The state in a message: a text, or what JSON says; `ABSENT` where it is not there.

        Raises `NoTemplate` for a value that a filter does not take.
        """
        found = document if self.path is None else at(document, self.path)
        if self.needs is not None and at(document, self.needs) is ABSENT:
            return ABSENT
        for name, argument in self.filters:
            found = _FILTERS[name](found, argument)
        return found


def read(text: str) -> ValueTemplate:
    """A template; raises `NoTemplate`."""
    text, needs = text.strip(), None
    if asked := _IF.fullmatch(text):
        needs, text = _steps(asked[1]), asked[2]
    found = _PLAIN.fullmatch(text)
    calls = [] if found is None else re.findall(_CALL, found[2])
    if found is None or any(name not in _FILTERS for name, _ in calls):
        raise NoTemplate(f"the template {text!r} is more than a path")
    filters = tuple((name, _literal(arguments)) for name, arguments in calls)
    if ("default", ABSENT) in filters:
        raise NoTemplate(f"the template {text!r} is more than a path")
    return ValueTemplate(_steps(found[1]), filters, needs)


def number(found: Any) -> Any:
    """A text that is a number as one; others stay."""
    if not isinstance(found, str) or not _NUMBER.fullmatch(found):
        return found
    return int(found) if found.lstrip("+-").isdecimal() else float(found)


def _steps(path: str) -> tuple[str, ...] | None:
    if not path.startswith("value_json"):
        return None
    return tuple(next((part for part in step if part), "") for step in _STEP.findall(path))


def _literal(arguments: str) -> Any:
    """The first argument of a filter; `ABSENT` if there is none, or if it is more than a literal."""
    found = _LITERAL.fullmatch(arguments.partition(",")[0].strip())
    if found is None:
        return ABSENT
    text = found[1]
    if text[0] in "'\"":
        return text[1:-1]
    return _WORDS[text.lower()] if text.lower() in _WORDS else number(text)


def _default(found: Any, argument: Any) -> Any:
    return argument if found is ABSENT else found


def _numeric(work: Callable[[float], Any]) -> Callable[[Any, Any], Any]:
    def apply(found: Any, argument: Any) -> Any:
        told = number(found)
        if found is not ABSENT and isinstance(told, int | float) and math.isfinite(told):
            return work(told)
        if found is ABSENT or argument is not ABSENT:
            return argument
        raise NoTemplate(f"{str(found)[:40]!r} is no number")

    return apply


def _round(found: Any, argument: Any) -> Any:
    digits = argument if isinstance(argument, int) and abs(argument) < 16 else 0
    return _numeric(lambda value: round(float(value), digits))(found, ABSENT)


def _worded(work: Callable[[str], str]) -> Callable[[Any, Any], Any]:
    return lambda found, _argument: work(found) if isinstance(found, str) else found


_FILTERS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "is_defined": lambda found, _argument: found,
    "default": _default,
    "float": _numeric(lambda value: value),
    "int": _numeric(int),
    "round": _round,
    "abs": _numeric(abs),
    "string": lambda found, _argument: found,
    "lower": _worded(str.lower),
    "upper": _worded(str.upper),
    "trim": _worded(str.strip),
}
