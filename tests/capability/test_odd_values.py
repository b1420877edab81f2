"""Odd values through every capability: each is done or is an error inside the action; the gateway goes on."""

from __future__ import annotations

import os
import random
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.capability import odd
from tests.path.gateway import Gateway, free_port, gateway, until

ECHO = "function main(p) { return p }"


class Odd:
    """A gateway whose actions ask for odd things."""

    def __init__(self, made: Gateway) -> None:
        """Over a gateway that runs."""
        self.gateway = made
        made.action("echo", ECHO)
        made.ok("PUT", "_/triggers/t", {})
        self.codes = {"nodejs:20": odd.JAVASCRIPT, "python:3": odd.PYTHON}

    def ask(self, kind: str, seed: int, count: int) -> Any:
        """The outcome of `count` requests."""
        self._put("odd", kind, self.codes[kind], 60_000)
        answer = self._invoke("odd", {"seed": seed, "count": count})
        assert answer["success"], (kind, seed, answer)
        return answer["result"]

    def module(self, seed: int) -> None:
        """Run a module that calls host functions with odd numbers."""
        self._put("module", "wasm:default", odd.module(random.Random(seed)), 200)
        self._invoke("module", {"seed": seed})

    def check(self, what: object) -> None:
        """Nothing was unforeseen, and all that was done can be listed."""
        assert self.gateway.status()["sandboxes"]["unforeseen"] == 0, what
        assert self._invoke("echo", {"a": 1})["result"] == {"a": 1}, what
        self.gateway.ok("GET", "_/activations?limit=200&docs=true")

    def _put(self, name: str, kind: str, code: str, timeout: int) -> None:
        annotations = [{"key": "edge-capabilities", "value": odd.GRANTS}]
        limits = {"timeout": timeout, "logs": 10}
        body = {"exec": {"kind": kind, "code": code}, "annotations": annotations, "limits": limits}
        self.gateway.ok("PUT", f"_/actions/{name}?overwrite=true", body)

    def _invoke(self, name: str, parameters: Any) -> Any:
        answer = self.gateway.call("POST", f"_/actions/{name}?blocking=true", parameters)
        assert answer.status in (200, 502), answer
        return answer.body["response"]


def running(folder: Path) -> Iterator[Odd]:
    """A gateway with a broker and a serial port."""
    leader, follower = os.openpty()
    tty.setraw(follower)
    settings = (
        f'[mqtt]\nurl = "embedded://127.0.0.1:{free_port()}"\n'
        f'[serial.meter]\nport = "{os.ttyname(follower)}"\nprofile = "arduino/bme280"\n'
    )
    with gateway(folder, settings) as made:
        until(lambda: made.status()["sandboxes"]["python:3"]["state"] == "ready", 120, "Python is ready")
        yield Odd(made)
    os.close(leader)
    os.close(follower)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Odd]:
    yield from running(tmp_path_factory.mktemp("odd"))


@pytest.mark.parametrize("kind", ["nodejs:20", "python:3"])
def test_each_value_is_taken_or_refused_by_name(asked: Odd, kind: str) -> None:
    for seed in (0, 1, 3003):  # 3003: a method that is not ASCII
        found = asked.ask(kind, seed, 150)
        assert not found["wrong"]
        assert found["went"] > 5
        assert found["refused"] > 50
        asked.check((kind, seed))


def test_host_functions_with_odd_addresses(asked: Odd) -> None:
    for seed in range(40):
        asked.module(seed)
    asked.check("modules")
