"""The guests that are there: reads `sandboxes/*/manifest.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from edgewhisk import share
from edgewhisk.errors import SandboxError

ABI: Final = 1


@dataclass(frozen=True, slots=True)
class Runtime:
    """One guest; see `sandboxes/README.md`."""

    kind: str
    family: str
    aliases: tuple[str, ...]
    module: Path
    engine: str
    stack: int
    reserve: int
    before: str
    after: str
    main: str
    main_pattern: str

    def wrap(self, code: str, main: str) -> str:
        """The source that the guest is given."""
        return f"{self.before}{code}{self.after.replace('{main}', main)}"


def installed() -> list[Runtime]:
    """Every guest; raises `SandboxError` for a broken manifest or a guest that was not built."""
    return [_read(path) for _, path in share.every("sandboxes", "*/manifest.toml")]


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
    names = {field.name for field in fields(Runtime)}
    if wrong := names.symmetric_difference(manifest):
        raise SandboxError(f"{path}: missing or unknown: {', '.join(sorted(wrong))}")
    module = path.parent / manifest["module"]
    if not module.is_file():
        hint = "build the guests with: python sandboxes/build_hook.py"
        raise SandboxError(f"{module} is missing", hint=hint)
    return Runtime(**{**manifest, "aliases": tuple(manifest["aliases"]), "module": module})
