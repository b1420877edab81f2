"""From the bytes of a message to the parameters of an event. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Final

import orjson


class MalformedPayload(ValueError):
    """The bytes are not what the feed was told to expect."""


def of_json(topic: bytes, data: bytes) -> bytes:
    """The keys of a JSON object with `topic` under them; any other value as `payload`.

    The object's text is not built anew: it is checked and put behind the topic, and a key `topic`
    of its own, coming later, wins.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MalformedPayload(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        return b'{"topic":%b,"payload":%b}' % (topic, orjson.dumps(value))
    if not value:
        return b'{"topic":%b}' % topic
    text = data.strip(b" \t\r\n")
    if b"\n" in text or b"\r" in text:  # white space only: JSON has no raw line break inside a string
        text = text.replace(b"\n", b" ").replace(b"\r", b" ")
    return b'{"topic":%b,%b' % (topic, text[1:])


def of_text(topic: bytes, data: bytes) -> bytes:
    """The bytes as UTF-8 text in `payload`."""
    try:
        return b'{"topic":%b,"payload":%b}' % (topic, orjson.dumps(data.decode()))
    except UnicodeDecodeError as error:
        raise MalformedPayload(f"not UTF-8 text: {error.reason}") from None


def of_bytes(topic: bytes, data: bytes) -> bytes:
    """The bytes as base64 in `payload`."""
    return b'{"topic":%b,"payload":"%b"}' % (topic, base64.b64encode(data))


FORMATS: Final[Mapping[str, Callable[[bytes, bytes], bytes]]] = {
    "json": of_json,
    "text": of_text,
    "base64": of_bytes,
}


def topic_text(topic: str) -> bytes:
    """A topic as JSON text."""
    return orjson.dumps(topic)
