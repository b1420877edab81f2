"""The one door out of a sandbox: checks what is granted, then has it done."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.entity.action import Action
from edgewhisk.entity.grants import ANNOTATION, Grants
from edgewhisk.errors import CapabilityError, EdgeWhiskError, MalformedContent, NotGranted
from edgewhisk.spi import Answer, Asker

LARGEST_REQUEST: Final = 2 << 20  # bytes
_REMEMBERED: Final = 256  # actions whose annotation is kept parsed


class Request(NamedTuple):
    """A request whose JSON was read."""

    op: str
    fields: Mapping[str, Any]
    grants: Grants
    asker: Asker

    def text(self, key: str) -> str:
        """A field that must be text; raises `CapabilityError`."""
        value = self.fields.get(key)
        if not isinstance(value, str):
            raise CapabilityError(f"{self.op}: {key!r} must be text")
        return value


Perform = Callable[[Request], Any]  # the value for {"ok": ...}; raises `EdgeWhiskError`


class Doors:
    """Implements `spi.Capabilities` over a table of operations."""

    def __init__(self, operations: dict[str, Perform], settle: Callable[[Action], None]) -> None:
        """`operations` by name ("state.get"); `settle` makes state durable."""
        self.operations = operations
        self.settle = settle  # see `spi.Capabilities`
        self._lock = threading.Lock()
        self._grants: OrderedDict[object, Grants] = OrderedDict()
        self.refused = 0

    def ask(self, asker: Asker, request: bytes) -> Answer:
        """See `spi.Capabilities`."""
        try:
            found = self._read(asker, request)
            value = self.operations[found.op](found)
            return Answer(jsontext.dumps({"ok": value}))
        except NotGranted as error:
            self.refused += 1
            text = f"{error}; grant it with the annotation '{ANNOTATION}' ({error.hint})"
            return Answer(jsontext.dumps({"error": text}), text)
        except EdgeWhiskError as error:
            return Answer(jsontext.dumps({"error": error.message}))

    def _read(self, asker: Asker, request: bytes) -> Request:
        if len(request) > LARGEST_REQUEST:
            raise CapabilityError(f"the request has {len(request)} bytes; at most {LARGEST_REQUEST} go")
        try:
            fields = jsontext.parse_odd(request, cut=False).value
        except jsontext.NotJson as error:
            raise CapabilityError(f"the request is not JSON: {error}") from error
        if not isinstance(fields, dict) or fields.get("op") not in self.operations:
            known = ", ".join(sorted(self.operations))
            raise CapabilityError(f"there is no such operation; 'op' must be one of {known}")
        return Request(fields["op"], fields, self._granted(asker.action), asker)

    def _granted(self, action: Action) -> Grants:
        with self._lock:
            found = self._grants.get(action.revision)
            if found is None:
                try:
                    found = Grants.of(action.annotations)
                except MalformedContent as error:  # stored by an older version
                    raise CapabilityError(error.message) from error
                self._grants[action.revision] = found
                if len(self._grants) > _REMEMBERED:
                    self._grants.popitem(last=False)
            return found
