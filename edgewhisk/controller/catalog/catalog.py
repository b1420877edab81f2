"""Packages of `whisk.system` whose actions are files: those that come along, and those of an operator.

`NAME.toml` describes the package NAME, and `NAME/ACTION.js` or `.py` holds the code of each action. The keys
of an action are its annotations; `varies` says that the sample output is only an example.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from edgewhisk.entity.action import Action
from edgewhisk.entity.annotations.grants import Grants
from edgewhisk.entity.exec import CodeExec
from edgewhisk.entity.identity import SYSTEM_NAMESPACE
from edgewhisk.entity.limits import ActionLimits, Limits
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.entity.package import Package
from edgewhisk.entity.parameters import Parameters
from edgewhisk.entity.version import SemVer
from edgewhisk.errors import UNREADABLE

OWN: Final = Path(__file__).parent
KINDS: Final = {".js": "nodejs:20", ".py": "python:3"}
_LARGEST: Final = 1 << 20  # bytes of a file
VARIES: Final = "varies"


def packages(
    folder: Path, limits: Limits, taken: Collection[str] = ()
) -> tuple[list[Package | Action], list[str]]:
    """What a folder offers, and what is wrong with packages that are left out, a line each (blocking).

    Names that are `taken` are not offered.
    """
    found: list[Package | Action] = []
    wrong: list[str] = []
    for file in sorted(folder.glob("*.toml")):
        try:
            if file.stem in taken:
                raise ValueError(f"/{SYSTEM_NAMESPACE}/{file.stem} is there already")
            found += _package(file, limits)
        except (OSError, *UNREADABLE) as error:
            wrong.append(f"{file}: the package is not offered: {error or type(error).__name__}")
    return found, wrong


def _package(file: Path, limits: Limits) -> Iterator[Package | Action]:
    table = tomllib.loads(_text(file))
    name = parse_name(f"/{SYSTEM_NAMESPACE}/{file.stem}", SYSTEM_NAMESPACE)
    described = Parameters.of({"description": str(table["description"])})
    actions = [_action(file, key, dict(one), limits) for key, one in table["actions"].items()]
    yield Package(name, None, Parameters(), described, SemVer(), 0, True)
    yield from actions


def _action(file: Path, key: str, about: dict[str, Any], limits: Limits) -> Action:
    parse_name(f"/{SYSTEM_NAMESPACE}/{file.stem}/{key}", SYSTEM_NAMESPACE)  # raises for what is no name
    about.pop(VARIES, None)
    code, kind = _code(file.with_suffix("") / key)
    annotations = Parameters.of({"exec": kind, **_plain(about)})
    Grants.of(annotations)
    return Action(
        FullyQualifiedName(SYSTEM_NAMESPACE, file.stem, key),
        CodeExec(kind, code),
        Parameters(),
        ActionLimits.default(limits),
        annotations,
        SemVer(),
        0,
        True,
    )


def _code(stem: Path) -> tuple[str, str]:
    for suffix, kind in KINDS.items():
        if (path := stem.with_name(stem.name + suffix)).is_file():
            return _text(path), kind
    raise FileNotFoundError(f"there is no {stem}.js or .py")


def _text(file: Path) -> str:
    if (size := file.stat().st_size) > _LARGEST:
        raise ValueError(f"{file} has {size} bytes, more than {_LARGEST}")
    return file.read_text("utf-8")


def _plain(about: Mapping[str, Any]) -> dict[str, Any]:
    """The values as JSON has them: a table of TOML may hold dates."""
    return {key: _json(value) for key, value in about.items()}


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_json(one) for one in value]
    return value if isinstance(value, str | int | float | bool) else str(value)
