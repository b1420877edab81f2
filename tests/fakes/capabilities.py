"""Capabilities for tests of sandboxes: nothing is granted, or all once a gate is open."""

from __future__ import annotations

import threading

from edgewhisk.entity.action import Action
from edgewhisk.spi import Answer, Asker


class NoCapabilities:
    """`spi.Capabilities` that refuses all."""

    def ask(self, asker: Asker, request: bytes) -> Answer:
        del asker, request
        return Answer(b'{"error":"not granted"}', "not granted")

    def settle(self, action: Action) -> None:
        del action


class Gate(NoCapabilities):
    """`spi.Capabilities` that hold whoever asks until the gate is open."""

    def __init__(self, *, opened: bool = False) -> None:
        """`asked` is set once somebody waits at it."""
        self.asked, self.open = threading.Event(), threading.Event()
        if opened:
            self.open.set()

    def ask(self, asker: Asker, request: bytes) -> Answer:
        self.asked.set()
        assert self.open.wait(60)
        return Answer(b'{"ok":null}')
