"""Capabilities that grant nothing: for tests of sandboxes that ask for nothing."""

from __future__ import annotations

from edgewhisk.entity.action import Action
from edgewhisk.spi import Answer, Asker


class NoCapabilities:
    """`spi.Capabilities` that refuses all."""

    def ask(self, asker: Asker, request: bytes) -> Answer:
        del asker, request
        return Answer(b'{"error":"not granted"}', "not granted")

    def settle(self, action: Action) -> None:
        del action
