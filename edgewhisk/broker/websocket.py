"""MQTT over WebSocket (MQTT 5, section 6; RFC 6455): bytes in, bytes for the broker and answers out.

Pure. Frames are not gathered: what has come of one is handed on at once, so nothing here needs room.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection
from typing import Final

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_LONGEST_HEAD: Final = 8192  # bytes of the request
_CONTINUED, _BINARY, _CLOSE, _PING, _PONG = 0, 2, 8, 9, 10
_FIN: Final = 0x80
_MASKED: Final = 0x80
_PROTOCOL_ERROR: Final = 1002
_GOOD_BYE: Final = 1000
_HEADER: Final = re.compile(rb"([!-9;-~]+):[ \t]*(.*?)[ \t]*\r\n")
_REFUSED: Final = (
    b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b\n"
)


class WebSocketError(ValueError):
    """A client broke the protocol, or may not connect; `answer` tells it before the connection closes."""

    def __init__(self, text: str, answer: bytes) -> None:
        """Say what is wrong."""
        super().__init__(text)
        self.answer = answer


class WebSocket:
    """The server's side of one connection."""

    def __init__(self, origins: Collection[str]) -> None:
        """Pages of `origins` may connect, and programs, which name none."""
        self._origins = origins
        self._buffer = bytearray()  # of the request, or of the head of a frame, or of a control frame
        self.open = False  # the request is answered
        self._code = _BINARY
        self._left = 0  # bytes of the frame's payload
        self._mask = b""
        self._fragments = False  # a message goes on

    def receive(self, data: bytes) -> tuple[bytes, bytes]:
        """What the client says to the broker, and what it is answered at once; raises `WebSocketError`."""
        self._buffer += data
        answers: list[bytes] = []
        if not self.open:
            answer = self._request()
            if not answer:
                return b"", b""
            answers.append(answer)
        said: list[bytes] = []
        while self._left or self._next():
            size = min(self._left, len(self._buffer))
            if self._code >= _CLOSE and size < self._left:
                break
            payload = self._unmasked(size)
            if self._code < _CLOSE:
                said.append(payload)
            elif self._code == _PING:
                answers.append(frame(payload, _PONG))
            elif self._code == _CLOSE:
                raise WebSocketError("the client closes", frame(payload[:2], _CLOSE))
            if self._left:
                break
        return b"".join(said), b"".join(answers)

    def _request(self) -> bytes:
        """The answer to the request that opens it (RFC 6455, 4.2), empty if it is not here in full."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _LONGEST_HEAD:
                raise _refusal("431 Request Header Fields Too Large", "a request of more than 8 KiB")
            return b""
        head = bytes(self._buffer[: end + 2])
        del self._buffer[: end + 4]
        headers = {name.lower(): value for name, value in _HEADER.findall(head.partition(b"\r\n")[2])}
        key = headers.get(b"sec-websocket-key", b"")
        asks = head.startswith(b"GET ") and b"websocket" in headers.get(b"upgrade", b"").lower()
        if not asks or not key or headers.get(b"sec-websocket-version") != b"13":
            raise _refusal("400 Bad Request", "this is an MQTT broker: it takes WebSocket of version 13 only")
        origin = headers.get(b"origin", b"").decode(errors="replace")
        if origin and origin not in self._origins:
            raise _refusal(
                "403 Forbidden", "pages of this origin may not connect: [embedded] origins names those"
            )
        offered = [one.strip() for one in headers.get(b"sec-websocket-protocol", b"").split(b",")]
        protocol = next((one for one in offered if one in (b"mqtt", b"mqttv3.1")), b"")
        if not protocol:
            raise _refusal("400 Bad Request", "the subprotocol must be mqtt")
        self.open = True
        accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Protocol: %b\r\n\r\n" % (accept, protocol)
        )

    def _next(self) -> bool:
        """Take the head of the next frame (RFC 6455, 5.2); false if it is not here in full."""
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        first, size, at = buffer[0], buffer[1] & 0x7F, 2
        if size > 125:
            at = 4 if size == 126 else 10
        if len(buffer) < at + 4:
            return False
        if at > 2:
            size = int.from_bytes(buffer[2:at], "big")
        code = first & 0x0F
        control = code >= _CLOSE
        wrong = (
            first & 0x70 or not buffer[1] & _MASKED or code not in (_CONTINUED, _BINARY, _CLOSE, _PING, _PONG)
        )
        if wrong or (control and (size > 125 or not first & _FIN)):
            raise _broken("a frame that is none of a client, or of text")
        if not control:
            if (code == _CONTINUED) != self._fragments:
                raise _broken("a message in pieces that do not follow each other")
            self._fragments = not first & _FIN
        self._code, self._left, self._mask = code, size, bytes(buffer[at : at + 4])
        del buffer[: at + 4]
        return True

    def _unmasked(self, size: int) -> bytes:
        """Take so many bytes of the payload (RFC 6455, 5.3)."""
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._left -= size
        mask = self._mask * (size // 4 + 1)
        turn = size % 4
        self._mask = self._mask[turn:] + self._mask[:turn]
        return (int.from_bytes(data, "big") ^ int.from_bytes(mask[:size], "big")).to_bytes(size, "big")


def frame(data: bytes, code: int = _BINARY) -> bytes:
    """One frame of the server."""
    size = len(data)
    if size < 126:
        return bytes((_FIN | code, size)) + data
    if size < 1 << 16:
        return bytes((_FIN | code, 126)) + size.to_bytes(2, "big") + data
    return bytes((_FIN | code, 127)) + size.to_bytes(8, "big") + data


def good_bye() -> bytes:
    """The last frame."""
    return frame(_GOOD_BYE.to_bytes(2, "big"), _CLOSE)


def _broken(text: str) -> WebSocketError:
    return WebSocketError(text, frame(_PROTOCOL_ERROR.to_bytes(2, "big"), _CLOSE))


def _refusal(status: str, text: str) -> WebSocketError:
    return WebSocketError(text, _REFUSED % (status.encode(), len(text) + 1, text.encode()))
