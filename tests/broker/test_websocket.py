"""MQTT over WebSocket: the frames, whom it lets in, and a real client."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.broker.websocket import WebSocket, WebSocketError, frame
from tests.broker.serving import serving

REQUEST = {
    "Host": "127.0.0.1", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "chat, mqtt",
}  # fmt: skip


def request(**changed: str) -> bytes:
    headers = REQUEST | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
    return f"GET /mqtt HTTP/1.1\r\n{lines}\r\n".encode()


def masked(data: bytes, first: int = 0x82, mask: bytes = b"\1\2\3\4") -> bytes:
    """A frame of a client."""
    plain = frame(data)
    size = 2 if len(data) < 126 else 4 if len(data) < 1 << 16 else 10
    body = bytes(one ^ mask[at % 4] for at, one in enumerate(data))
    return bytes((first, plain[1] | 0x80)) + plain[2:size] + mask + body


def opened() -> WebSocket:
    made = WebSocket(())
    assert made.receive(request())[0] == b""
    return made


def test_the_answer_is_that_of_the_rfc() -> None:
    said, answer = WebSocket(()).receive(request() + masked(b"\x10"))
    assert said == b"\x10"
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer  # RFC 6455, 1.3
    assert b"Sec-WebSocket-Protocol: mqtt\r\n" in answer


@given(
    st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=5),
    st.integers(1, 200),
    st.binary(min_size=4, max_size=4),
)
def test_frames_are_read_whatever_the_chunks_are(
    parts: list[tuple[bytes, bool]], chunk: int, mask: bytes
) -> None:
    stream, pings, goes_on = request(), 0, False
    for data, last in parts:
        code = (0 if goes_on else 2) | (0x80 if last else 0)
        goes_on = not last
        stream += masked(data, code, mask) + masked(b"p", 0x89, mask)
        pings += 1
    made, said, answers = WebSocket(()), b"", b""
    for at in range(0, len(stream), chunk):
        for_broker, answer = made.receive(stream[at : at + chunk])
        said, answers = said + for_broker, answers + answer
    assert said == b"".join(data for data, _ in parts)
    assert answers.partition(b"\r\n\r\n")[2] == frame(b"p", 10) * pings


def test_a_large_frame_is_handed_on_as_it_comes() -> None:
    made, large = opened(), masked(bytes(100_000))
    assert len(made.receive(large[:5000])[0]) == 5000 - 14
    assert len(made.receive(large[5000:])[0]) == 100_000 - 5000 + 14


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (request(Origin="https://evil.example"), b"403"),
        (request(Sec_WebSocket_Protocol="chat"), b"400"),
        (request(Sec_WebSocket_Version="8"), b"400"),
        (request(Upgrade=""), b"400"),
        (b"POST / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 9000, b"431"),
    ],
)
def test_who_may_not_connect_is_told_why(said: bytes, answer: bytes) -> None:
    with pytest.raises(WebSocketError) as caught:
        WebSocket(("https://panel.example",)).receive(said)
    assert caught.value.answer.startswith(b"HTTP/1.1 " + answer)
    assert WebSocket(("https://panel.example",)).receive(request(Origin="https://panel.example"))[1]


@pytest.mark.parametrize(
    "said",
    [frame(b"x"), masked(b"x", 0x81), masked(b"x", 0xC2), masked(b"x", 0x80), masked(b"x", 0x09),
     masked(bytes(126), 0x89), masked(b"x", 0x02) + masked(b"x", 0x82)],
)  # fmt: skip
def test_a_wrong_frame_ends_it(said: bytes) -> None:
    with pytest.raises(WebSocketError) as caught:
        opened().receive(said + bytes(8))
    assert caught.value.answer == b"\x88\x02\x03\xea"


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_none(data: bytes) -> None:
    for made in (WebSocket(()), opened()):
        with contextlib.suppress(WebSocketError):
            assert len(made.receive(data)[0]) <= len(data)


def test_a_real_client(tmp_path: Path) -> None:
    async def run() -> None:
        async with asyncio.timeout(30), serving(tmp_path) as (_, server):
            port = await server.listen("127.0.0.1", 0, web=True)
            web: dict[str, Any] = {
                "transport": "websockets",
                "websocket_path": "/mqtt",
                "websocket_headers": without_origin,
            }
            async with aiomqtt.Client("127.0.0.1", port, **web) as client:
                await client.subscribe("t/#", qos=1)
                for size in (0, 10, 1000, 100_000):
                    await client.publish("t/a", bytes(size), qos=1)
                sizes = []
                async for message in client.messages:
                    sizes.append(len(bytes(message.payload)))
                    if len(sizes) == 4:
                        break
                assert sizes == [0, 10, 1000, 100_000]

    asyncio.run(run())


def without_origin(headers: dict[str, str]) -> dict[str, str]:
    """paho names an origin, as a page would."""
    return {name: value for name, value in headers.items() if name != "Origin"}


def test_the_key_is_any_base64() -> None:
    key = base64.b64encode(b"0123456789abcdef").decode()
    assert WebSocket(()).receive(request(Sec_WebSocket_Key=key))[1]
