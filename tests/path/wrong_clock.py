"""`edgewhisk run` on a machine whose clock a test sets: `python -m tests.path.wrong_clock --config FILE`.

Beside the configuration lies `clock.json`: `{"boot": 8 hex characters, "shift": seconds}`. The system's
clock is off by `shift`; another `boot` at the next start is another boot.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from edgewhisk.clock.system import SystemClock
from edgewhisk.config.loader import load
from edgewhisk.gateway.app import run


class WrongClock(SystemClock):
    """What the operating system says, off by what a file says."""

    def __init__(self, file: Path) -> None:
        self._file = file
        super().__init__()
        self.timing = self.timing._replace(boot=self._told()["boot"])

    def system(self) -> int:
        shift: float = self._told()["shift"]
        return super().system() + round(shift * 1000)

    def kept(self) -> bool:
        return False

    def expected(self) -> bool:
        return False

    def _told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._file.read_text())
        return told


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    config = load(parser.parse_args().config, {})
    clock = WrongClock(parser.parse_args().config.parent / "clock.json")
    asyncio.run(run(config, lambda made: print("ready", made.url, flush=True), lambda _: None, clock))  # noqa: T201


if __name__ == "__main__":
    main()
