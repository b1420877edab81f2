"""What an action executes: code of a language kind, or a sequence of other actions."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from edgewhisk.entity.names import FullyQualifiedName, parse_name, parse_reference
from edgewhisk.errors import MalformedContent

SEQUENCE: Final = "sequence"
NATIVE: Final = "edgewhisk:native"  # kind of the gateway's own actions: their code is this program
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True, slots=True)
class CodeExec:
    """Source or an archive for one of the runtimes."""

    kind: str  # resolved: "nodejs:20", never "nodejs:default"
    code: str
    main: str | None = None
    binary: bool = False  # base64 of an archive

    def to_json(self, *, code: bool = True) -> dict[str, Any]:
        """The form of the REST API, without the source if `code` is false."""
        document: dict[str, Any] = {"kind": self.kind}
        if code:
            document["code"] = self.code
        if self.main is not None:
            document["main"] = self.main
        document["binary"] = self.binary
        return document


@dataclass(frozen=True, slots=True)
class SequenceExec:
    """Actions that run one after the other, each on the result of the one before."""

    components: tuple[FullyQualifiedName, ...]
    kind: str = SEQUENCE

    def to_json(self, *, code: bool = True) -> dict[str, Any]:
        """The form of the REST API."""
        return {"kind": self.kind, "components": [str(name) for name in self.components]}


Exec = CodeExec | SequenceExec


def exec_from_json(value: object, kinds: Mapping[str, str], namespace: str) -> Exec:
    """Read `exec` of a PUT body.

    `kinds` maps every accepted kind and alias to the kind it resolves to. Raises
    `MalformedContent` with OpenWhisk's texts.
    """
    if not isinstance(value, dict):
        raise MalformedContent("JSON object expected")
    if not isinstance(value.get("kind"), str):
        raise MalformedContent("'kind' must be a string defined in 'exec'")
    kind = value["kind"].strip().lower()
    if kind == SEQUENCE:
        return _sequence(value, namespace)
    if kind == "blackbox":
        raise MalformedContent(
            "container images ('blackbox', --docker) cannot run here: there is no container engine "
            f"on this gateway. Use one of the kinds {_listed(kinds)}."
        )
    if kind not in kinds:
        raise MalformedContent(
            f"The specified runtime '{kind}' is not supported by this platform. "
            f"Valid values are: {_listed(kinds)}."
        )
    code, main = value.get("code"), value.get("main", "")
    if not isinstance(code, str):
        raise MalformedContent(
            f"'code' must be a string or attachment object defined in 'exec' for '{kind}' actions"
        )
    if not isinstance(main, str):
        raise MalformedContent(f"if defined, 'main' must be a string in 'exec' for '{kind}' actions")
    return CodeExec(_kept(kind, kinds), code, value.get("main"), is_base64(code))


def _kept(kind: str, kinds: Mapping[str, str]) -> str:
    """A kind as it was given, but `nodejs:default` as what it stands for: tools compare what they deploy."""
    return kinds[kind] if kind.endswith(":default") else kind


def exec_from_document(value: Mapping[str, Any]) -> Exec:
    """Read what `to_json` wrote."""
    if value["kind"] == SEQUENCE:
        return SequenceExec(tuple(parse_name(name, "_") for name in value["components"]))
    return CodeExec(value["kind"], value["code"], value.get("main"), value.get("binary", False))


def _listed(kinds: Mapping[str, str]) -> str:
    return ", ".join(f"'{kind}'" for kind in sorted(kinds))


def _sequence(value: Mapping[str, Any], namespace: str) -> SequenceExec:
    if "components" not in value:
        raise MalformedContent("'components' must be defined for sequence kind")
    if not isinstance(components := value["components"], list):
        raise MalformedContent("'components' must be an array")
    return SequenceExec(tuple(parse_reference(name, namespace) for name in components))


def is_base64(code: str) -> bool:
    """Whether OpenWhisk would take `code` for an archive: non-empty standard base64."""
    if not code or len(code) % 4 or not _BASE64.fullmatch(code):
        return False
    try:
        base64.b64decode(code, validate=True)
    except binascii.Error:
        return False
    return True
