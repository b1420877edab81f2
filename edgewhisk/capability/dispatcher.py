"""The one door out of a sandbox: checks what is granted, then has it done."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.base.recent import Recent
from edgewhisk.base.unforeseen import UNFORESEEN
from edgewhisk.entity.action import Action
from edgewhisk.entity.annotations.grants import ANNOTATION, Grants
from edgewhisk.entity.identity import SYSTEM_NAMESPACE
from edgewhisk.errors import CapabilityError, EdgeWhiskError, MalformedContent, NotGranted
from edgewhisk.spi import LARGEST_REQUEST, Answer, Asker

_REMEMBERED: Final = 10_000  # actions whose annotation is kept parsed
_OP: Final = re.compile(rb'\{"op": ?"([a-z_.]{1,32})"')
_KINDS: Final = {str: "text", bool: "true or false", list: "a list", dict: "an object"}


Entitled = Callable[[str, str, str], None]  # (subject, kind, name): see `entitlement.check_granted`


class CapabilityRequest(NamedTuple):
    """A request whose JSON was read."""

    op: str
    fields: Mapping[str, Any]
    grants: Grants
    asker: Asker
    entitled: Entitled

    def text(self, key: str) -> str:
        """Returns a field that must be text; raises `CapabilityError`."""
        value = self.fields.get(key)
        if not isinstance(value, str):
            raise CapabilityError(f"{self.op}: {key!r} must be text, not {kind_of(value)}")
        return value

    def flag(self, key: str) -> bool:
        """Returns a field that is true, false or missing; raises `CapabilityError`."""
        value = self.fields.get(key)
        if value is not None and not isinstance(value, bool):
            raise CapabilityError(f"{self.op}: {key!r} must be true or false, not {kind_of(value)}")
        return value is True

    def data(self, key: str) -> bytes:
        """Returns bytes given as text (`key`) or as base64 (`key` + "64"); raises `CapabilityError`."""
        encoded = self.fields.get(f"{key}64")
        if encoded is None:
            return self.text(key).encode()
        if not isinstance(encoded, str):
            raise CapabilityError(f"{self.op}: '{key}64' must be base64, not {kind_of(encoded)}")
        try:
            return base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise CapabilityError(f"{self.op}: '{key}64' is not base64: {error}") from error

    def json(self, key: str) -> bytes:
        """Returns the JSON of a field."""
        return jsontext.kept(self.fields.get(key))

    def check_owner(self, kind: str, name: str) -> None:
        """Raises `NotGranted` unless the action's owner may reach what `spi.Resource` names.

        The owner's, not the caller's grants: whoever wrote the action says what it does, and a caller who
        is granted more must not lend that to it. Actions of `whisk.system` are the gateway's or its
        operator's, and may reach what whoever invokes them may.
        """
        owner = self.asker.action.name.namespace
        self.entitled(self.asker.namespace if owner == SYSTEM_NAMESPACE else owner, kind, name)


def ungranted(what: str, **wanted: Any) -> NotGranted:
    """Returns the error of an action whose annotation lacks what is `wanted`."""
    return NotGranted(what, hint=f"the annotation '{ANNOTATION}' ({jsontext.dumps(wanted).decode()})")


def kind_of(value: object) -> str:
    """Returns what a value is to somebody who thinks in JSON."""
    for kind, name in _KINDS.items():
        if isinstance(value, kind):
            return name
    return "null" if value is None else "a number"


Perform = Callable[[CapabilityRequest], Any]  # the value for {"ok": ...}; raises `EdgeWhiskError`


class CapabilityDispatcher:
    """Implements `spi.Capabilities` over a table of operations."""

    def __init__(
        self, operations: dict[str, Perform], settle: Callable[[Action], None], entitled: Entitled
    ) -> None:
        """`operations` by name ("state.get"); `settle` makes state durable.

        `entitled` raises `NotGranted` for what is not granted to a subject.
        """
        self.operations = operations
        self._entitled = entitled
        self.settle = settle  # see `spi.Capabilities`
        self._grants = Recent[object, Grants](_REMEMBERED, _REMEMBERED)
        self.refused = 0

    def describe(self) -> dict[str, int]:
        """Counters for `status`."""
        return {"refused": self.refused, "unforeseen": UNFORESEEN.count}

    def ask(self, asker: Asker, request: bytes) -> Answer:
        """See `spi.Capabilities`."""
        op = "a capability"
        try:
            found = self._read(asker, request)
            op = found.op
            return Answer(jsontext.dumps({"ok": self.operations[op](found)}))
        except NotGranted as error:
            self.refused += 1
            text = f"{error}; grant it with {error.hint}"
            return Answer(_error(text), text)
        except EdgeWhiskError as error:
            named = error.message.startswith(op)
            return Answer(_error(error.message if named else f"{op}: {error.message}"))
        except Exception as error:  # noqa: BLE001 - a fault of ours is an error inside the action, not the end
            return Answer(_error(UNFORESEEN.tell(op, error)))

    def _read(self, asker: Asker, request: bytes) -> CapabilityRequest:
        if len(request) > LARGEST_REQUEST:
            op = _op_of(request)
            raise CapabilityError(f"{op}: the request has {len(request)} bytes; at most {LARGEST_REQUEST} go")
        try:
            fields = jsontext.parse_odd(request, cut=False).value
        except jsontext.NotJson as error:
            raise CapabilityError(
                f"{_op_of(request)}: the request cannot be read as JSON: {error}"
            ) from error
        name: Any = fields.get("op") if isinstance(fields, dict) else None
        if not isinstance(name, str) or name not in self.operations:
            known = ", ".join(sorted(self.operations))
            raise CapabilityError(f"there is no such operation; 'op' must be one of {known}")
        return CapabilityRequest(name, fields, self._granted(asker.action), asker, self._entitled)

    def _granted(self, action: Action) -> Grants:
        found = self._grants.get(action.revision)
        if found is None:
            try:
                found = Grants.of(action.annotations)
            except MalformedContent as error:  # stored by an older version
                raise CapabilityError(error.message) from error
            self._grants.keep(action.revision, found, 1)
        return found


def _op_of(request: bytes) -> str:
    """Returns the operation of a request that cannot be read, as our own libraries write it."""
    found = _OP.match(request)
    return found[1].decode() if found else "a capability"


def _error(text: str) -> bytes:
    return jsontext.dumps({"error": text})
