"""Follows readings through a gateway: which modules of the package they go through.

    python -m tests.path.follow [FOLDER]

prints them, in the order in which a reading enters them first, as rows for the table in edgewhisk/README.md,
and then the threads that there are.
The gateway is a real one, in this process, beside a real mosquitto. The readings come one by one at QoS 1,
and the action runs inline. A profile function (sys.setprofile) notes what is entered, on every thread.
"""

from __future__ import annotations

import ast
import asyncio
import json
import re
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

import gmqtt
from gmqtt.mqtt.constants import MQTTv311

import edgewhisk
from edgewhisk.config.loader import load
from edgewhisk.config.schema import Config
from edgewhisk.gateway.app import Gateway as Daemon
from tests.path.gateway import Gateway, mosquitto, until

PACKAGE: Final = Path(edgewhisk.__file__).parent
_PREFIX: Final = f"{PACKAGE}/"
_ROUNDS: Final = 12  # that are compared
_MOST: Final = 300  # rounds that are tried: on a busy machine a run may be too slow for the event loop
_TOGETHER: Final = 3  # readings of a round, one by one: an acknowledgement may come in the next one's time


class Follower:
    """Notes the modules that are entered, on this thread and on those that start while it follows."""

    def __init__(self) -> None:
        """Nothing is noted before `follow`."""
        self._seen: dict[str, None] = {}

    def follow(self) -> None:
        """Begin, or go on."""
        threading.setprofile(self._note)
        sys.setprofile(self._note)

    def look_away(self) -> None:
        """Note nothing on this thread until `follow`."""
        sys.setprofile(None)

    def taken(self) -> list[str]:
        """Returns the modules since the last call, in order."""
        seen, self._seen = self._seen, {}
        return list(seen)

    def _note(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and (file := frame.f_code.co_filename).startswith(_PREFIX):
            self._seen[file[len(_PREFIX) :]] = None


class Followed:
    """A running gateway, a device, and who follows."""

    def __init__(self, daemon: Daemon, follower: Follower, device: gmqtt.Client) -> None:
        self._daemon = daemon
        self._follower = follower
        self._device = device

    async def counts(self) -> tuple[int, int]:
        """Returns how many activations there are, and how many of them were run on the event loop."""
        self._follower.look_away()
        status = await self._daemon.status()
        self._follower.follow()
        return status["buffer"]["records"], status["invoker"]["inline"]

    async def round(self, number: int) -> list[str] | None:
        """Returns the modules that readings go through; None if some were not run on the event loop."""
        _, before = await self.counts()
        self._follower.taken()
        for each in range(_TOGETHER):
            await self._reading(number * _TOGETHER + each)
        taken = self._follower.taken()
        _, after = await self.counts()
        return taken if after - before == _TOGETHER else None

    async def _reading(self, number: int) -> None:
        """Publish one, and wait until its activation is on disk."""
        before, _ = await self.counts()
        self._device.publish("follow/me", json.dumps({"n": number}), qos=1)
        async with asyncio.timeout(30):
            while (await self.counts())[0] == before:  # noqa: ASYNC110 - the commit thread
                await asyncio.sleep(0.005)


def path(folder: Path) -> tuple[list[str], list[str]]:
    """Returns the modules that most rounds of readings go through, in order, and the threads.

    Timers come in few rounds.
    """
    with mosquitto(folder) as port:
        made = Gateway(folder / "edge", f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n')
        rounds, threads = asyncio.run(_rounds(made, load(made.config, {}), port))
    often = Counter(module for one in rounds for module in one)
    order = dict.fromkeys(module for one in rounds[::-1] for module in one)
    return [module for module in order if often[module] > len(rounds) / 2], threads


async def _rounds(made: Gateway, config: Config, port: int) -> tuple[list[list[str]], list[str]]:
    follower = Follower()
    follower.follow()
    daemon = Daemon(config, lambda _: None)
    async with daemon.running():
        await asyncio.to_thread(_deploy, made)
        device = gmqtt.Client("device")
        await device.connect("127.0.0.1", port, version=MQTTv311)
        followed = Followed(daemon, follower, device)
        rounds: list[list[str]] = []
        for number in range(_MOST):
            if (one := await followed.round(number)) is not None:
                rounds.append(one)
            if len(rounds) == _ROUNDS + 2:
                break
        follower.look_away()
        threading.setprofile(None)
        threads = {re.sub(r"\d+$", "N", one.name) for one in threading.enumerate()}
        await device.disconnect()
    assert len(rounds) == _ROUNDS + 2, f"only {len(rounds)} of {_MOST} rounds were run on the event loop"
    return rounds[2:], sorted(threads)  # the first rounds fill caches


def _deploy(made: Gateway) -> None:
    made.action("show", "function main(p) { return p }")
    made.feed("readings", "mqtt/message", topic="follow/+")
    made.rule("readings", "show")
    until(made.feeds_run, what="the feed runs")


def folded(modules: Sequence[str]) -> list[str]:
    """Returns the same with `invoker/` for all modules of it: its own README tells of those."""
    return list(dict.fromkeys("invoker/" if one.startswith("invoker/") else one for one in modules))


def row(module: str) -> str:
    """Returns a line of the table: a module, and what its docstring says of it."""
    if module.endswith("/"):
        return f"| `{module}` | {module}README.md |"
    text = ast.get_docstring(ast.parse((PACKAGE / module).read_text())) or ""
    return f"| `{module}` | {text.split(chr(10) * 2)[0].replace(chr(10), ' ')} |"


def main() -> None:
    """The command."""
    with tempfile.TemporaryDirectory() as own:
        modules, threads = path(Path(sys.argv[1] if len(sys.argv) > 1 else own))
    print("\n".join(map(row, folded(modules))))  # noqa: T201
    print("\n".join(f"thread {name}" for name in threads))  # noqa: T201


if __name__ == "__main__":
    main()
