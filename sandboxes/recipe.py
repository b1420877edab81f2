"""What the recipes of all guests share: fetching by hash, stamps, and reading a module's bytes."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "build-requirements.txt"


class BuildError(SystemExit):
    """The build cannot go on; the text says why and what to do."""


def build(target: Path, digest: str, make: Callable[[], bytes]) -> Path:
    """`target` as `make` gives it, unless the recipe with this digest made it before."""
    stamp = target.with_name(f"{target.name}.stamp")
    if is_current(target, stamp, digest):
        return target
    data = make()
    target.parent.mkdir(exist_ok=True)
    draft = target.with_suffix(".new")
    draft.write_bytes(data)
    draft.replace(target)
    stamp.write_text(json.dumps({"recipe": digest, "sha256": sha256(data)}) + "\n")
    say(f"built {target.name}: {len(data) // 1024} KiB")
    return target


def load(path: Path) -> ModuleType:
    """A recipe, or a part of one, as a module."""
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise BuildError(f"edgewhisk: {path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def digest_of(settings: object, files: Iterable[Path]) -> str:
    """What a guest is made of: its recipe's settings, its sources and the pinned versions."""
    digest = hashlib.sha256(json.dumps(settings).encode())
    for path in [REQUIREMENTS, *sorted(files)]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def is_current(target: Path, stamp: Path, wanted: str) -> bool:
    """Whether the guest was built by this recipe and is undamaged."""
    try:
        made = json.loads(stamp.read_text())
        return bool(made["recipe"] == wanted and made["sha256"] == sha256(target.read_bytes()))
    except (OSError, ValueError, KeyError):
        return False


def pinned(folder: Path, package: str) -> Path:
    """A requirements file with the lines of one package."""
    text = REQUIREMENTS.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith(f"{package}==")]
    path = folder / f"{package}.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def install(folder: Path, package: str) -> Path:
    """Install a pinned wheel below `folder`; where."""
    target = folder / package
    pip("install", "--require-hashes", "--no-deps", "--only-binary", package, "--target", str(target),
        "-r", str(pinned(folder, package)))  # fmt: skip
    return target


def pip(*arguments: str) -> None:
    """Run pip with the user's configuration."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(
            "edgewhisk: cannot fetch what the guests are built from.\n"
            f"{done.stderr.strip()[-2000:]}\n"
            "Check that the package index can be reached (pip download ziglang) and that nothing "
            "replaced its files: their hashes stand in sandboxes/build-requirements.txt."
        )


def sections(wasm: bytes) -> Iterator[tuple[int, bytes]]:
    """(id, content) of a module's sections (WebAssembly core specification, 5.5)."""
    at = 8
    while at < len(wasm):
        kind = wasm[at]
        size, start = uleb(wasm, at + 1)
        yield kind, wasm[start : start + size]
        at = start + size


def read_imports(section: bytes) -> Iterator[tuple[str, str]]:
    """(module, name) of each imported function."""
    count, at = uleb(section, 0)
    for _ in range(count):
        names = []
        for _part in range(2):
            size, at = uleb(section, at)
            names.append(section[at : at + size].decode())
            at += size
        at += 1  # kind: a function
        _, at = uleb(section, at)
        yield names[0], names[1]


def uleb(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


def say(text: str) -> None:
    """Progress for a person; pip shows it with -v, the command always."""
    print(f"edgewhisk: {text}", file=sys.stderr, flush=True)
