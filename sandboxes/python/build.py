"""Builds the Python guest: CPython by componentize-py, with `source/` and the standard library in it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from recipe import BuildError, build, digest_of, install, say

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "source"


def run() -> Path:
    """Build the guest if it is not up to date; where it is."""
    # Not what Python compiled: the guest leaves its own there while it is built, and would never be current.
    sources = [path for path in SOURCE.rglob("*.*") if path.parent.name != "__pycache__"]
    return build(HERE / "dist" / "python.wasm", digest_of([], sources), make)


def make() -> bytes:
    """The guest's component."""
    with tempfile.TemporaryDirectory(prefix="edgewhisk-python-") as scratch:
        folder = Path(scratch)
        say("fetching componentize-py (about 17 MB)")
        tool = install(folder, "componentize-py")
        say("building the Python guest (about a minute)")
        target = folder / "python.wasm"
        command = [sys.executable, "-c", "import sys, componentize_py; sys.exit(componentize_py.script())",
                   "-d", str(SOURCE / "action.wit"), "-w", "action", "componentize", "-p", str(SOURCE),
                   "action_guest", "-o", str(target)]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(tool), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, env=environment
        )
        if done.returncode:
            raise BuildError(
                f"edgewhisk: the Python guest cannot be built:\n{(done.stderr + done.stdout)[-4000:]}"
            )
        return target.read_bytes()
