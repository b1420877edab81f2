"""From the bytes of a message to the parameters of an event. Pure.

What the gateway says itself stands before them, in a `Head`; a key of the message that would replace some of
it gets `_` behind its name.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple

import orjson

from edgewhisk.entity.facts import REQUEST, beside

_LF: Final = 0x0A
_CR: Final = 0x0D
LARGEST: Final = 1 << 20  # bytes, as OpenWhisk's parameters: the queue holds many of them


class MalformedPayload(ValueError):
    """The bytes are not what the feed was told to expect."""


class Head(NamedTuple):
    """What the gateway says of a message."""

    text: bytes  # members of a JSON object, without braces
    taken: frozenset[str]  # keys that a message may not set

    @classmethod
    def of(cls, facts: Mapping[str, Any], reserved: Collection[str] = ()) -> Head:
        """Of `facts`, one at least; `reserved`: what it may say of other messages."""
        return cls(orjson.dumps(facts)[1:-1], frozenset((*facts, *reserved, *REQUEST)))

    def saying(self, facts: Mapping[str, Any]) -> Head:
        """The same, and `facts` behind it, whose keys are reserved."""
        return Head(self.text + b"," + orjson.dumps(facts)[1:-1], self.taken) if facts else self

    def before(self, given: Mapping[str, Any]) -> bytes:
        """The event of a message that sets what it may not."""
        return orjson.dumps(beside(orjson.loads(b"{%b}" % self.text), given, self.taken))


def check_size(data: bytes) -> None:
    """Raises `MalformedPayload` for more than the parameters of an event may be."""
    if len(data) > LARGEST:
        raise MalformedPayload(f"{len(data)} bytes: an event takes {LARGEST} at most")


def of_json(head: Head, data: bytes) -> bytes:
    """The keys of a JSON object with `head` before them; any other value as `payload`.

    The object's text is not built anew: it is checked and put behind the head.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MalformedPayload(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        return b'{%b,"payload":%b}' % (head.text, orjson.dumps(value))
    if not value:
        return b"{%b}" % head.text
    if not head.taken.isdisjoint(value):
        return head.before(value)
    text = data.strip(b" \t\r\n")
    # White space only: JSON has no raw line break inside a string. Looking for a number is seven times as
    # fast as for bytes.
    if _LF in text or _CR in text:
        text = text.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"{%b,%b" % (head.text, text[1:])


def of_text(head: Head, data: bytes) -> bytes:
    """The bytes as UTF-8 text in `payload`."""
    try:
        return b'{%b,"payload":%b}' % (head.text, orjson.dumps(data.decode()))
    except UnicodeDecodeError as error:
        raise MalformedPayload(f"not UTF-8 text: {error.reason}") from None


def of_bytes(head: Head, data: bytes) -> bytes:
    """The bytes as base64 in `payload`."""
    return b'{%b,"payload":"%b"}' % (head.text, base64.b64encode(data))


def of_cbor(head: Head, data: bytes) -> bytes:
    """As JSON, of a CBOR item (RFC 8949); byte strings become base64."""
    import cbor2  # 1 MB, which few gateways use

    try:
        return of_json(head, orjson.dumps(cbor2.loads(data), default=_plain, option=orjson.OPT_NON_STR_KEYS))
    except (cbor2.CBORDecodeError, orjson.JSONEncodeError, ValueError, TypeError, RecursionError) as error:
        raise MalformedPayload(f"not CBOR that JSON can say: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


FORMATS: Final[Mapping[str, Callable[[Head, bytes], bytes]]] = {
    "json": of_json,
    "text": of_text,
    "base64": of_bytes,
    "cbor": of_cbor,
}
