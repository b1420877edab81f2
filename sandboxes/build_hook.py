"""Builds the guests: a hatchling build hook, and a command for a checkout.

    python sandboxes/build_hook.py      build in place what is not up to date

The compiler (ziglang) and the engine's source (the sdist of quickjs-ng) come from the package index
that pip is configured for, checked against the hashes in `build-requirements.txt`. Nothing is
fetched when the guest in `dist/` was built from the same sources with the same recipe.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a command
    BuildHookInterface = object  # type: ignore[assignment, misc]

HERE = Path(__file__).resolve().parent
JAVASCRIPT = HERE / "javascript"
REQUIREMENTS = HERE / "build-requirements.txt"
ENGINE_SOURCES = ("quickjs.c", "libregexp.c", "libunicode.c", "dtoa.c")
FLAGS = (
    "-target", "wasm32-wasi", "-mexec-model=reactor", "-std=gnu2x", "-O2", "-DNDEBUG", "-D_GNU_SOURCE",
    "-D_WASI_EMULATED_PROCESS_CLOCKS", "-D_WASI_EMULATED_SIGNAL",
)  # fmt: skip
# The stack lies below all data (the linker's default here): what is behind it is the image.
LINK = ("-Wl,-z,stack-size=262144", "-lwasi-emulated-process-clocks", "-lwasi-emulated-signal", "-s")
IMPORTS = {("env", "now"), ("env", "sleep")}  # all that a guest may ask of the host


class BuildError(SystemExit):
    """The build cannot go on; the text says why and what to do."""


class GuestBuildHook(BuildHookInterface):  # type: ignore[misc, valid-type]
    """Builds the guests before a wheel or an sdist is put together."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling."""
        del version, build_data
        build()


def build() -> Path:
    """Build the JavaScript guest if it is not up to date; where it is."""
    target = JAVASCRIPT / "dist" / "engine.wasm"
    stamp = target.with_suffix(".json")
    wanted = recipe_digest()
    if is_current(target, stamp, wanted):
        return target
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="edgewhisk-guest-") as scratch:
        folder = Path(scratch)
        say("fetching the compiler (ziglang, about 90 MB) and the source of quickjs-ng")
        zig = fetch_compiler(folder)
        engine = fetch_engine(folder)
        say("compiling the JavaScript engine to WebAssembly (about a minute)")
        draft = folder / "engine.wasm"
        compile_guest(zig, engine, draft, folder)
        data = draft.read_bytes()
    check(data)
    draft = target.with_suffix(".new")
    draft.write_bytes(data)
    draft.replace(target)
    stamp.write_text(json.dumps({"recipe": wanted, "sha256": sha256(data)}) + "\n")
    say(f"built {target.name}: {len(data) // 1024} KiB")
    return target


def recipe_digest() -> str:
    """What the guest is made of: sources, flags and the pinned versions."""
    digest = hashlib.sha256(json.dumps([FLAGS, LINK, ENGINE_SOURCES]).encode())
    for path in [REQUIREMENTS, *sorted((JAVASCRIPT / "source").iterdir())]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def is_current(target: Path, stamp: Path, wanted: str) -> bool:
    """Whether the guest was built by this recipe and is undamaged."""
    try:
        made = json.loads(stamp.read_text())
        return bool(made["recipe"] == wanted and made["sha256"] == sha256(target.read_bytes()))
    except (OSError, ValueError, KeyError):
        return False


def fetch_compiler(folder: Path) -> list[str]:
    """Install ziglang below `folder`; the command of its compiler."""
    pip("install", "--require-hashes", "--no-deps", "--only-binary", "ziglang", "--target",
        str(folder / "zig"), "-r", str(pinned(folder, "ziglang")))  # fmt: skip
    return [str(folder / "zig" / "ziglang" / "zig"), "cc"]


def fetch_engine(folder: Path) -> Path:
    """Unpack the sdist of quickjs-ng; the folder of its C sources."""
    pip("download", "--require-hashes", "--no-deps", "--no-binary", "quickjs-ng", "--dest",
        str(folder), "-r", str(pinned(folder, "quickjs-ng")))  # fmt: skip
    archive = next(folder.glob("quickjs*.tar.gz"))
    with tarfile.open(archive) as sdist:
        if hasattr(tarfile, "data_filter"):
            sdist.extractall(folder, filter="data")
        else:
            sdist.extractall(folder)  # noqa: S202 - its hash was checked
    return next(folder.glob("quickjs*/upstream-quickjs"))


def pinned(folder: Path, package: str) -> Path:
    """A requirements file with the lines of one package."""
    text = REQUIREMENTS.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith(package)]
    path = folder / f"{package}.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def pip(*arguments: str) -> None:
    """Run pip with the user's configuration."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(
            "edgewhisk: cannot fetch what the JavaScript guest is built from.\n"
            f"{done.stderr.strip()[-2000:]}\n"
            "Check that the package index can be reached (pip download ziglang) and that nothing "
            "replaced its files: their hashes stand in sandboxes/build-requirements.txt."
        )


def compile_guest(zig: list[str], engine: Path, target: Path, folder: Path) -> None:
    """Compile the guest; the compiler's own cache stays in `folder`."""
    sources = sorted((JAVASCRIPT / "source").glob("*.c"))
    command = [
        *zig, *FLAGS, f"-I{engine}", *map(str, sources), *(str(engine / name) for name in ENGINE_SOURCES),
        "-Wl,--export=__stack_pointer", *LINK, "-o", str(target),
    ]  # fmt: skip
    caches = {"ZIG_GLOBAL_CACHE_DIR": str(folder / "cache"), "ZIG_LOCAL_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **caches})
    if done.returncode:
        raise BuildError(f"edgewhisk: the JavaScript guest does not compile:\n{done.stderr[-4000:]}")


# -- what the host's restore relies on, asserted on the binary ------------------------------------


def check(wasm: bytes) -> None:
    """Raise `BuildError` unless linear memory is all that a call can change."""
    parts = dict(sections(wasm))
    imports = set(read_imports(parts.get(2, b"")))
    if imports != IMPORTS:
        raise BuildError(f"edgewhisk: the guest imports {sorted(imports)}, not {sorted(IMPORTS)}")
    if (count := uleb(parts.get(6, b"\0"), 0)[0]) != 1:
        raise BuildError(f"edgewhisk: the guest has {count} globals; only the stack pointer can be restored")


def sections(wasm: bytes) -> Any:
    """(id, content) of a module's sections (WebAssembly core specification, 5.5)."""
    at = 8
    while at < len(wasm):
        kind = wasm[at]
        size, start = uleb(wasm, at + 1)
        yield kind, wasm[start : start + size]
        at = start + size


def read_imports(section: bytes) -> Any:
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
        yield tuple(names)


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


if __name__ == "__main__":
    print(build())
