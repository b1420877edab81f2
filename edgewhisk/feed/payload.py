"""From the bytes of a message to the parameters of an event. Pure.

What the gateway says itself stands before them, in a `Head`; a key of the message that would replace some of
it gets `_` behind its name. `mend` is told of odd parts that something else stands for now.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

from edgewhisk import jsontext
from edgewhisk.entity.invocation.facts import REQUEST, beside

Mend = Callable[[int], None]
# `payload` is a level, a batch of readings (`shaping`) two: an action may give back what it gets.
LEVELS: Final = jsontext.LEVELS - 3
_SHORT: Final = 2 * LEVELS  # bytes: what is shorter cannot be too deep
_SHARED: Final = b"\xd8\x1c"  # tag 28: an item that may be referred to (cbor.schmorp.de/value-sharing)
MAX_PAYLOAD_BYTES: Final = 1 << 20  # bytes, as OpenWhisk's parameters: the queue holds many of them


class Format(Protocol):
    """How the bytes of a message are read; raises `MalformedPayload`."""

    def __call__(self, head: Head, data: bytes, *, mend: Mend = ...) -> bytes:
        """The parameters of an event."""
        ...


class MalformedPayload(ValueError):
    """The bytes are not what the feed was told to expect."""


class Head(NamedTuple):
    """What the gateway says of a message."""

    text: bytes  # members of a JSON object, without braces
    taken: frozenset[str]  # keys that a message may not set

    @classmethod
    def of(cls, facts: Mapping[str, Any], reserved: Collection[str] = ()) -> Head:
        """Of `facts`, one at least; `reserved`: what it may say of other messages."""
        return cls(jsontext.dumps(facts)[1:-1], _keys((*facts, *reserved)))

    def saying(self, facts: Mapping[str, Any]) -> Head:
        """The same, and `facts` behind it, whose keys are reserved."""
        return Head(self.text + b"," + jsontext.dumps(facts)[1:-1], self.taken) if facts else self

    def before(self, given: Mapping[str, Any]) -> bytes:
        """The event of a message that sets what it may not."""
        return jsontext.dumps(beside(jsontext.loads(b"{%b}" % self.text), given, self.taken))


@lru_cache(maxsize=256)
def _keys(names: tuple[str, ...]) -> frozenset[str]:
    """Those and what an HTTP request has: one set of 700 bytes for all 10,000 topics that a feed may know."""
    return frozenset((*names, *REQUEST))


def check_size(data: bytes) -> None:
    """Raises `MalformedPayload` for more than the parameters of an event may be."""
    if len(data) > MAX_PAYLOAD_BYTES:
        raise MalformedPayload(f"{len(data)} bytes: an event takes {MAX_PAYLOAD_BYTES} at most")


def of_json(head: Head, data: bytes, *, mend: Mend = lambda _: None) -> bytes:
    """The keys of a JSON object with `head` before them; any other value as `payload`.

    The object's text is not built anew: it is checked and put behind the head.
    """
    if len(data) < _SHORT:  # nearly all: not a microsecond more than it takes
        try:
            value = jsontext.exact(data)
        except ValueError:
            pass
        else:
            return _spliced(head, value, jsontext.one_line(data))
    try:
        value, text, replaced = jsontext.parse_odd(data, LEVELS)
    except jsontext.NotJson as error:
        raise MalformedPayload(f"not JSON: {error}") from None
    if replaced:
        mend(replaced)
    return _spliced(head, value, text)


def _spliced(head: Head, value: Any, text: bytes) -> bytes:
    if not isinstance(value, dict):
        return b'{%b,"payload":%b}' % (head.text, text)
    if not value:
        return b"{%b}" % head.text
    if not head.taken.isdisjoint(value):
        return head.before(value)
    return b"{%b,%b" % (head.text, text[1:])


def of_text(head: Head, data: bytes, *, mend: Mend = lambda _: None) -> bytes:
    """The bytes as UTF-8 text in `payload`."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = jsontext.decoded(data)
        mend(1)
    return b'{%b,"payload":%b}' % (head.text, jsontext.dumps(text))


def of_bytes(head: Head, data: bytes, *, mend: Mend = lambda _: None) -> bytes:
    """The bytes as base64 in `payload`."""
    del mend  # any byte can be said
    return b'{%b,"payload":"%b"}' % (head.text, base64.b64encode(data))


def of_cbor(head: Head, data: bytes, *, mend: Mend = lambda _: None) -> bytes:
    """As JSON, of a CBOR item (RFC 8949); byte strings become base64."""
    import cbor2  # 1 MB, which few gateways use

    try:
        value = cbor2.loads(data)
        check_tree(data, value)
        return of_json(head, jsontext.dumps(value, _plain, any_key=True), mend=mend)
    except (cbor2.CBORDecodeError, ValueError, TypeError, RecursionError) as error:
        raise MalformedPayload(f"not CBOR that JSON can say: {error}") from None


def check_tree(data: bytes, value: Any) -> None:
    """Raises `MalformedPayload` where parts of a CBOR item are shared: written out they are without bound."""
    if _SHARED not in data:
        return
    seen: set[int] = set()
    todo = [value]
    while todo:
        one = todo.pop()
        if not isinstance(one, dict | list | tuple | set | frozenset):
            continue
        if id(one) in seen:
            raise MalformedPayload("a CBOR item with shared parts")
        seen.add(id(one))
        todo.extend(one.values() if isinstance(one, dict) else one)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


FORMATS: Final[Mapping[str, Format]] = {
    "json": of_json,
    "text": of_text,
    "base64": of_bytes,
    "cbor": of_cbor,
}
