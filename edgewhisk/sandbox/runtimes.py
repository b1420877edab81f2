"""The guests that are there: reads `sandboxes/*/manifest.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from edgewhisk import jsontext
from edgewhisk.base import resources
from edgewhisk.errors import SandboxError
from edgewhisk.sandbox.archive import Layout

ABI: Final = 1
_FORMS: Final = ("guest", "component", "module")


@dataclass(frozen=True, slots=True)
class Runtime:
    """One runtime; see `sandboxes/README.md`."""

    kind: str
    family: str
    form: str  # "guest", "component" or "module": what runs it
    aliases: tuple[str, ...]
    rank: int = 9  # the lowest is prepared first
    module: Path = Path()
    library: Path = Path()  # JSON of {name: source} that the guest may ask for
    engine: str = ""
    stack: int = 0
    reserve: int = 0
    main: str = "main"
    main_pattern: str = ""
    layout: Layout = field(default_factory=lambda: Layout("", ""))

    def wasm(self) -> bytes:
        """The guest's module; raises `SandboxError`."""
        try:
            return self.module.read_bytes()
        except OSError as error:
            raise SandboxError(f"{self.module} cannot be read: {error.strerror}") from error

    def modules(self) -> Mapping[str, bytes]:
        """Sources of the library by name; raises `SandboxError`."""
        if self.library == Path():
            return {}
        try:
            found: dict[str, str] = jsontext.loads(self.library.read_bytes())
        except (OSError, jsontext.NotJson) as error:
            raise SandboxError(f"{self.library} cannot be read: {error}") from error
        return {name: text.encode() for name, text in found.items()}


def installed() -> list[Runtime]:
    """Every guest; raises `SandboxError` for a broken manifest or a guest that was not built."""
    return [_read(path) for _, path in resources.every("sandboxes", "*/manifest.toml")]


def kinds(runtimes: Sequence[Runtime]) -> dict[str, str]:
    """Every accepted kind or alias -> the kind it resolves to."""
    found = {alias: runtime.kind for runtime in runtimes for alias in runtime.aliases}
    return found | {runtime.kind: runtime.kind for runtime in runtimes}


def _read(path: Path) -> Runtime:
    try:
        manifest: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SandboxError(f"{path} cannot be read: {error}") from error
    if manifest.pop("abi", None) != ABI:
        raise SandboxError(f"{path}: abi must be {ABI}")
    if wrong := set(manifest) - {field.name for field in fields(Runtime)}:
        raise SandboxError(f"{path}: unknown: {', '.join(sorted(wrong))}")
    if manifest.get("form") not in _FORMS or not isinstance(manifest.get("kind"), str):
        raise SandboxError(f"{path}: needs a kind, and form must be one of {', '.join(_FORMS)}")
    for built in {"module", "library"} & set(manifest):
        manifest[built] = path.parent / manifest[built]
        if not manifest[built].is_file():
            hint = "build the guests with: python sandboxes/build_hook.py"
            raise SandboxError(f"{manifest[built]} is missing", hint=hint)
    try:
        layout = Layout(**manifest.pop("layout", {"plain": "", "entry": ""}))
        return Runtime(**{**manifest, "aliases": tuple(manifest.get("aliases", ())), "layout": layout})
    except TypeError as error:
        raise SandboxError(f"{path}: {error}") from error
