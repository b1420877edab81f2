"""`spi.Sandbox` without isolation: what runs is a function of the test's."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Mapping

from edgewhisk.entity.action import Action
from edgewhisk.entity.exec import CodeExec, Exec
from edgewhisk.entity.invocation.call import CallBatch
from edgewhisk.entity.invocation.message import BatchResult, Outcome, Status, UniformResult
from edgewhisk.errors import MalformedContent
from edgewhisk.spi import Clock

Behave = Callable[[Action, bytes], bytes | Outcome]  # for the payload of one call; may raise, and may wait


class FakeSandbox:
    """Gives back what it gets, unless told otherwise."""

    kinds: Mapping[str, str] = {
        "nodejs:default": "nodejs:20",
        "nodejs:20": "nodejs:20",
        "python:3": "python:3",
    }

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.behave: Behave = lambda _action, payload: payload
        self.uncompiled: set[str] = set()
        self.ran: list[tuple[str, str, bytes]] = []  # thread, action, payload of each call, in order

    def ready(self, kind: str) -> bool:
        return kind not in self.uncompiled

    def engine(self, kind: str) -> str:
        return f"no wasmtime: {kind}"

    def check(self, code: Exec) -> None:
        """Everything can be loaded but what is no code at all."""
        if not isinstance(code, CodeExec):
            return
        named = code.main is None or code.main.isidentifier()
        if code.kind not in self.kinds or not named or (code.binary and not _is_base64(code.code)):
            raise MalformedContent("no code")

    def run(self, action: Action, calls: CallBatch, *, inline: bool = False) -> BatchResult:
        start, found, uniform = self._clock.now(), [], True
        if action.exec.kind not in self.kinds:
            return [Outcome(Status.WHISK_ERROR, b"{}", (), start, start)] * len(calls.ids)
        thread = threading.current_thread().name
        for payload in calls.arguments:
            self.ran.append((thread, action.name.name, payload))
            one = self.behave(action, payload)
            if isinstance(one, bytes):
                one = Outcome(Status.SUCCESS, one, (), start, self._clock.now())
            else:
                uniform = False
            found.append(one)
            if inline and one.timed_out:
                break
        if uniform:
            return UniformResult([one.result for one in found], start, self._clock.now())
        return found

    def close(self) -> None:
        """There is nothing to drop."""


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return True
