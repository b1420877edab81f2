"""What calls of an action are given: arguments with bound parameters, the action context, and time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from edgewhisk.entity.action import Action
from edgewhisk.entity.arguments import EMPTY, over
from edgewhisk.entity.call import Calls
from edgewhisk.invoker.flight import Leg
from edgewhisk.invoker.pace import HURRY
from edgewhisk.recent import Recent
from edgewhisk.spi import Clock

_REMEMBERED: Final = (10_000, 32 << 20)  # actions, bytes of all
_CONTEXT: Final = 1000  # bytes: names have 256 characters at most
Revision = tuple[str, str, int]


class Contexts:
    """Thread-safe."""

    def __init__(self, clock: Clock, key_of: Callable[[str], str]) -> None:
        """`key_of` gives the key of a namespace."""
        self.api_host = ""  # what actions get as __OW_API_HOST
        self._clock = clock
        self._key_of = key_of
        self._quick = Recent[Revision, Action](*_REMEMBERED)
        self._known = Recent[tuple[Revision, str], dict[str, str]](*_REMEMBERED)

    def calls(self, leg: Leg, namespace: str) -> Calls:
        """The calls of a leg, whose time begins now."""
        bound = leg.bound
        context = {
            **self._of(bound.action, namespace),
            "deadline": str(self._clock.now() + bound.action.limits.timeout),
            "api_host": self.api_host,
        }
        if bound.keyed:
            context["api_key"] = self._key_of(namespace)
        arguments = leg.payloads
        if bound.text != EMPTY:
            arguments = [over(bound.text, payload) for payload in arguments]
        return Calls(arguments, leg.ids, context)

    def hurried(self, action: Action) -> Action:
        """`action` with less time; itself if it has no more anyway."""
        found = self._quick.get(action.revision)
        if found is None:
            limits = replace(action.limits, timeout=min(HURRY, action.limits.timeout))
            found = action if limits == action.limits else replace(action, limits=limits)
            self._quick.keep(action.revision, found, found.weight)
        return found

    def _of(self, action: Action, namespace: str) -> dict[str, str]:
        """What is the same for all calls of an action for a namespace."""
        key = (action.revision, namespace)
        context = self._known.get(key)
        if context is None:
            context = {
                "namespace": namespace,
                "action_name": str(action.name),
                "action_version": str(action.version),
            }
            self._known.keep(key, context, _CONTEXT)
        return context
