"""Builds the JavaScript guest: quickjs-ng and `source/`, compiled by zig."""

from __future__ import annotations

import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

from recipe import BuildError, build, digest_of, install, load, pinned, pip, read_imports, say, sections, uleb

HERE = Path(__file__).resolve().parent
ENGINE_SOURCES = ("quickjs.c", "libregexp.c", "libunicode.c", "dtoa.c")
FLAGS = (
    "-target", "wasm32-wasi", "-mexec-model=reactor", "-std=gnu2x", "-O2", "-DNDEBUG", "-D_GNU_SOURCE",
    "-D_WASI_EMULATED_PROCESS_CLOCKS", "-D_WASI_EMULATED_SIGNAL",
)  # fmt: skip
# The stack lies below all data (the linker's default here): what is behind it is the image.
LINK = ("-Wl,-z,stack-size=262144", "-lwasi-emulated-process-clocks", "-lwasi-emulated-signal", "-s")
IMPORTS = {
    ("edgewhisk", name) for name in ("now", "sleep", "random", "ask", "library", "take")
}  # all that a guest may ask of the host


def run() -> Path:
    """Build the guest if it is not up to date; where it is."""
    load(HERE / "library.py").run()
    digest = digest_of([FLAGS, LINK, ENGINE_SOURCES], [*(HERE / "source").iterdir(), HERE / "track.py"])
    return build(HERE / "dist" / "engine.wasm", digest, make)


def make() -> bytes:
    """The guest's module."""
    with tempfile.TemporaryDirectory(prefix="edgewhisk-guest-") as scratch:
        folder = Path(scratch)
        say("fetching the compiler (ziglang, about 90 MB) and the source of quickjs-ng")
        zig = install(folder, "ziglang") / "ziglang" / "zig"
        engine = fetch_engine(folder)
        say("compiling the JavaScript engine to WebAssembly (about a minute)")
        draft = folder / "engine.wasm"
        compile_guest(zig, engine, draft, folder)
        plain = draft.read_bytes()
    check(plain)
    return bytes(load(HERE / "track.py").track(plain))


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


def compile_guest(zig: Path, engine: Path, target: Path, folder: Path) -> None:
    """Compile the guest; the compiler's own cache stays in `folder`."""
    sources = sorted((HERE / "source").glob("*.c"))
    command = [
        str(zig), "cc", *FLAGS, f"-I{engine}", *map(str, sources),
        *(str(engine / name) for name in ENGINE_SOURCES),
        "-Wl,--export=__stack_pointer", *LINK, "-o", str(target),
    ]  # fmt: skip
    caches = {"ZIG_GLOBAL_CACHE_DIR": str(folder / "cache"), "ZIG_LOCAL_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **caches})
    if done.returncode:
        raise BuildError(f"edgewhisk: the JavaScript guest does not compile:\n{done.stderr[-4000:]}")


def check(wasm: bytes) -> None:
    """Raise `BuildError` unless linear memory is all that a call can change: the restore relies on it."""
    parts = dict(sections(wasm))
    imports = set(read_imports(parts.get(2, b"")))
    if imports != IMPORTS:
        raise BuildError(f"edgewhisk: the guest imports {sorted(imports)}, not {sorted(IMPORTS)}")
    if (count := uleb(parts.get(6, b"\0"), 0)[0]) != 1:
        raise BuildError(f"edgewhisk: the guest has {count} globals; only the stack pointer can be restored")
