"""The constant parts of records: made once for an action, version, trigger and caller, and remembered."""

from __future__ import annotations

from typing import Final

from edgewhisk.entity.activation import ENGINE, RecordTemplate
from edgewhisk.entity.arguments import Bound
from edgewhisk.entity.message import ActivationMessage
from edgewhisk.recent import Recent
from edgewhisk.spi import Sandbox

_MOST: Final = (10_000, 16 << 20)  # of those used last, bytes of all


class Templates:
    """The templates of what ran lately; used from any thread."""

    def __init__(self, sandbox: Sandbox) -> None:
        """`sandbox` tells which engine runs a kind of action."""
        self._sandbox = sandbox
        self._known = Recent[tuple[object, ...], RecordTemplate](*_MOST)

    def of(self, bound: Bound, message: ActivationMessage, memory: int = 0) -> RecordTemplate:
        """Returns the template for a message's record; `memory` (MB) is told for a sequence only."""
        key = (
            bound.action.revision,
            message.namespace,
            message.subject,
            message.trigger,
            message.binding,
            bool(message.cause),
            memory,
        )
        template = self._known.get(key)
        if template is None:
            template = self._made(bound, message, memory)
            self._known.keep(key, template, template.weight)
        return template

    def _made(self, bound: Bound, message: ActivationMessage, memory: int) -> RecordTemplate:
        if memory:
            return RecordTemplate.of_composite(bound.action, message, memory)
        engine = ENGINE if bound.native else self._sandbox.engine(bound.action.exec.kind)
        return RecordTemplate.of_action(bound.action, message, engine)
