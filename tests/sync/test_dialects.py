"""Kinds of clouds, over real HTTP: what each is sent, and keys, proxies and certificates on the way."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from edgewhisk.config.schema import CLOUD_KINDS
from edgewhisk.errors import CloudError
from edgewhisk.spi import SyncBatch
from edgewhisk.sync.client import CloudClient, CloudRefusal, CloudRoute
from edgewhisk.sync.credential import SIGNATURE, parse
from edgewhisk.sync.dialects import KINDS, dialect
from tests.sync.cloud import whole
from tests.transport.certificates import Authority

KEYS = {"https": "hmac secret", "digitalocean": "dof_v1_a:secret"}
BATCH = SyncBatch(1, (b'{"start":%d}' % 10**2000,), 0)  # so large that it is worth compressing


class Asked(NamedTuple):
    """A request that a server got."""

    line: str
    headers: Mapping[str, str]
    body: bytes


Reply = Callable[[Asked], bytes]


@asynccontextmanager
async def server(
    reply: Reply, context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[Asked]]]:
    """Answers each request; its port, and what it was asked."""
    seen: list[Asked] = []
    talks: set[asyncio.Task[None]] = set()

    def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.get_running_loop().create_task(serve(reader, writer)))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
                headers = {key.lower(): value for key, value in (field.split(": ", 1) for field in fields)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                seen.append(Asked(line, headers, body))
                writer.write(reply(seen[-1]))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async with await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context) as made:
        yield made.sockets[0].getsockname()[1], seen
        await asyncio.gather(*talks)


def client(kind: str, url: str, keys: str = "", *, route: CloudRoute | None = None) -> CloudClient:
    spoken = dialect(kind, url)
    credentials = parse(keys or KEYS.get(kind, "uuid:key"), spoken.schemes)
    return CloudClient(spoken, url, lambda: credentials, namespace="ours", route=route)


def has(_: Asked) -> bytes:
    return whole(b'{"have": 1}')


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_kind_is_sent(kind: str) -> None:
    async def play() -> None:
        async with server(has) as (port, seen):
            door = client(
                kind, f"http://127.0.0.1:{port}/in" if kind == "https" else f"http://127.0.0.1:{port}"
            )
            assert await door.send("d", "e", BATCH) == 1
            await door.close()
        (asked,) = seen
        if kind == "https":
            assert asked.line == "POST /in HTTP/1.1"
            assert asked.headers[SIGNATURE.lower()].startswith("sha256=")
            assert json.loads(gzip.decompress(asked.body))["records"] == [{"start": 10**2000}]
        else:
            path = "/api/v1/namespaces/whisk.system/actions/edge/ingest"
            assert asked.line == f"POST {path}?blocking=true&result=true HTTP/1.1"
            assert asked.headers["authorization"].startswith("Basic ")
            assert json.loads(asked.body)["device"] == "d"

    asyncio.run(play())


@pytest.mark.parametrize("kind", [kind for kind, one in KINDS.items() if one.kind != "https"])
def test_a_blocking_call_that_turns_late(kind: str) -> None:
    """Where its result is not kept, nothing is asked for, and the batch is sent again."""

    def reply(asked: Asked) -> bytes:
        if asked.line.startswith("GET"):
            return whole(b'{"result": {"have": 1}}')
        return whole(b'{"activationId": "1"}', status=b"202 Accepted")

    async def play() -> None:
        async with server(reply) as (port, seen):
            door = client(kind, f"http://127.0.0.1:{port}")
            if KINDS[kind].late_results:
                assert await door.send("d", "e", BATCH) == 1
                assert seen[1].line == "GET /api/v1/namespaces/ours/activations/1/result HTTP/1.1"
            else:
                with pytest.raises(CloudError, match="did not finish in time"):
                    await door.send("d", "e", BATCH)
                assert len(seen) == 1
            await door.close()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://ns.adobeioruntime.net", "adobe"),
        ("https://faas-fra1-afec6ce7.doserverless.co", "digitalocean"),
        ("https://ow.example.com", "openwhisk"),
        ("https://ow.example.com/", "openwhisk"),
        ("https://example.com/take/batches", "https"),
        ("https://adobeioruntime.net.example.com", "openwhisk"),
    ],
)
def test_a_kind_is_found_by_the_url(url: str, kind: str) -> None:
    assert dialect("", url).kind == kind
    assert dialect("https", url).kind == "https"


def test_the_configuration_names_all_kinds() -> None:
    assert tuple(KINDS) == CLOUD_KINDS
    assert all(kind == one.kind and one.schemes and one.key for kind, one in KINDS.items())


def test_keys_change_without_a_gap() -> None:
    """The new one is tried when the old one is refused, in the same request, and kept from then on."""
    good = "new"

    def reply(asked: Asked) -> bytes:
        known = asked.headers["authorization"] == f"Bearer {good}"
        return whole(b'{"have": 1}') if known else whole(b"{}", status=b"401 Unauthorized")

    async def play() -> None:
        nonlocal good
        async with server(reply) as (port, seen):
            door = client("https", f"http://127.0.0.1:{port}/in", "bearer old\nbearer new\n")
            for _ in range(3):
                assert await door.send("d", "e", BATCH) == 1
            assert len(seen) == 4
            good = "old"  # and back
            assert await door.send("d", "e", BATCH) == 1
            assert door.credential is not None
            assert door.credential.secret == "old"
            good = "neither"
            with pytest.raises(CloudRefusal, match="401"):
                await door.send("d", "e", BATCH)
            await door.close()

    asyncio.run(play())


def test_a_proxy_is_asked() -> None:
    async def play() -> None:
        async with server(has) as (proxy, seen):
            door = client(
                "openwhisk", "http://cloud.invalid", route=CloudRoute(proxy=f"http://a:b@127.0.0.1:{proxy}")
            )
            assert await door.send("d", "e", BATCH) == 1
            await door.close()
        assert seen[0].line.startswith("POST http://cloud.invalid/api/v1/")
        assert seen[0].headers["proxy-authorization"] == "Basic YTpi"

    asyncio.run(play())


def test_a_socks_proxy_is_asked() -> None:
    async def play() -> None:
        async with server(has) as (port, seen):

            async def socks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                """Of RFC 1928 what one client needs."""
                await reader.readexactly(1 + 1 + 1)
                writer.write(b"\x05\x00")
                head = await reader.readexactly(4)
                assert head[:3] == b"\x05\x01\x00"
                name = await reader.readexactly((await reader.readexactly(1))[0])
                assert name == b"cloud.invalid"
                await reader.readexactly(2)
                writer.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
                far = await asyncio.open_connection("127.0.0.1", port)

                async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                    while piece := await source.read(1 << 16):
                        sink.write(piece)
                    sink.close()

                await asyncio.gather(pipe(reader, far[1]), pipe(far[0], writer))

            async with await asyncio.start_server(socks, "127.0.0.1", 0) as proxy:
                number = proxy.sockets[0].getsockname()[1]
                door = client(
                    "openwhisk",
                    "http://cloud.invalid",
                    route=CloudRoute(proxy=f"socks5://127.0.0.1:{number}"),
                )
                assert await door.send("d", "e", BATCH) == 1
                await door.close()
        assert seen[0].headers["host"] == "cloud.invalid"

    asyncio.run(play())


def test_a_private_authority_and_a_certificate_of_ones_own(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = tmp_path / "own.pem"
    own.write_bytes(b"".join(file.read_bytes() for file in authority.issue("gateway")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server"))
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED

    async def play() -> None:
        async with server(has, context) as (port, _):
            url = f"https://127.0.0.1:{port}"
            known = client("openwhisk", url, route=CloudRoute(authority.file, own))
            assert await known.send("d", "e", BATCH) == 1
            strange, bare = (
                client("openwhisk", url),
                client("openwhisk", url, route=CloudRoute(authority.file)),
            )
            with pytest.raises(CloudError, match=r"certificate verify failed"):
                await strange.send("d", "e", BATCH)
            with pytest.raises(CloudError):
                await bare.send("d", "e", BATCH)
            odd = Path(__file__)
            for name, route in (("ca_file", CloudRoute(odd)), ("client_cert", CloudRoute(client_cert=odd))):
                broken = client("openwhisk", url, route=route)
                with pytest.raises(
                    CloudRefusal, match=rf"\[cloud\] {name}: .*test_dialects.py cannot be used"
                ):
                    await broken.send("d", "e", BATCH)
            await asyncio.gather(*(one.close() for one in (known, strange, bare)))

    asyncio.run(play())
