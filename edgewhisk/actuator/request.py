"""What the actuator actions are asked for, and what all kinds of targets read in the same way. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.errors import BadRequest

DAY: Final = 86_400.0  # seconds for which a command is tried by default
LONGEST: Final = 30 * DAY
LARGEST: Final = 1 << 20  # bytes of one command
COMMON: Final = {"expires": "seconds for which it is tried (default 86400; 0: now or never)"}
Body = dict[str, Any]


class Command(NamedTuple):
    """One thing to be delivered. The body is what JSON can say."""

    kind: str  # mqtt, serial, modbus, http
    target: str  # order is kept for each: "mqtt:", "serial:relay", "modbus:bus 3", "http:api.example.com:443"
    name: str  # what must be granted: a topic, a port, a host
    body: Body
    expires: float = DAY  # seconds
    id: str = ""  # the same in each try, by which a server can tell a second delivery
    data: bytes = b""  # what is sent

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Command:
        """What `document` gave."""
        return cls(**{**document, "data": base64.b64decode(document["data"])})

    @property
    def document(self) -> dict[str, Any]:
        """To be stored as JSON."""
        return {**self._asdict(), "data": base64.b64encode(self.data).decode()}


class Kept(NamedTuple):
    """A command that waits."""

    key: str  # rises with time of acceptance
    command: Command
    due: int  # ms since the boot when it expires: a clock that is set changes nothing
    size: int  # bytes
    told: str  # see `Target.told`


def payload(given: Mapping[str, Any], options: Collection[str]) -> bytes:
    """`payload` (text as it is, anything else as JSON), `payload64`, or all other parameters as JSON."""
    if "payload64" in given:
        return base64_of("payload64", given["payload64"])
    if "payload" in given:
        value = given["payload"]
    else:  # what the action before in a sequence returned
        value = {key: value for key, value in given.items() if key not in options}
    return value.encode() if isinstance(value, str) else jsontext.dumps(value)


def expires(given: Mapping[str, Any]) -> float:
    """Seconds for which it is tried; raises `BadRequest`."""
    value = given.get("expires", DAY)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST:
        raise BadRequest(f"expires must be 0 to {LONGEST:g} seconds, not {value!r}")
    return value


def whole(key: str, value: Any, most: int) -> int:
    """A whole number from 0 to `most`; raises `BadRequest`."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise BadRequest(f"{key} must be a whole number from 0 to {most}, not {value!r}")
    return value


def octets(key: str, value: str) -> bytes:
    """What `data64` or `hex` says; raises `BadRequest`."""
    if key == "data64":
        return base64_of(key, value)
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise BadRequest(f"hex must be bytes in hexadecimal, not {value!r}") from None


def base64_of(key: str, value: Any) -> bytes:
    """What base64 says; raises `BadRequest`."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise BadRequest(f"{key} is not base64") from None
