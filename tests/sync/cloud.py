"""The ingest action of a cloud over real HTTP, and answers that a test gives in its place."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Final

import orjson

from edgewhisk.entity.identity import AuthKey
from edgewhisk.spi import ActivationStore
from edgewhisk.sync.client import CloudClient, CloudRoute
from edgewhisk.sync.credential import Credential, Scheme
from edgewhisk.sync.dialects import dialect
from edgewhisk.sync.ingest import Ingest

KEY: Final = AuthKey(str(uuid.uuid4()), "k" * 64)
OK: Final = b"HTTP/1.1 200 OK\r\n"
DRIP: Final = b"(drip)"  # begins a reply that goes on for ever, a byte at a time
LOST: Final = b"(lost)"  # stands for the ingest's own reply, which is lost on the way


def whole(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """A reply that says how long it is."""
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, lines, len(body), body)


def openwhisk(
    url: str, ingest: str = "/whisk.system/edge/ingest", route: CloudRoute | None = None
) -> CloudClient:
    """What speaks to an OpenWhisk controller, with `KEY`."""
    keys = [Credential(Scheme.BASIC, KEY.compact)]
    spoken = dialect("openwhisk", url)
    return CloudClient(spoken, url, lambda: keys, namespace="guest", ingest=ingest, route=route)


class HttpCloud:
    """A gateway's ingest behind HTTP/1.1."""

    def __init__(
        self, store: ActivationStore, instead: Callable[[bytes], bytes | None], *, hangs_up: bool = False
    ) -> None:
        """`instead` gets a request's body, and gives the whole reply or None: then the ingest answers.

        `hangs_up`: closes the connection behind a reply of `instead`.
        """
        self._ingest = Ingest(store)
        self._instead = instead
        self._hangs_up = hangs_up
        self._talks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """The URL, while it is served."""
        async with await asyncio.start_server(self._talk, "127.0.0.1", 0) as server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            for task in self._talks:
                task.cancel()
            await asyncio.gather(*self._talks, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def door(self) -> AsyncIterator[CloudClient]:
        """What the sync sends through, while it is served."""
        async with self.serving() as url:
            door = openwhisk(url)
            try:
                yield door
            finally:
                await door.close()

    def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._talks.add(asyncio.get_running_loop().create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
                length = next((int(line[15:]) for line in head if line.startswith("content-length:")), 0)
                body = await reader.readexactly(length)
                reply = self._instead(body)
                if reply is None or reply == LOST:
                    own = whole(orjson.dumps(await self._ingest("guest", orjson.loads(body))))
                if reply == LOST:
                    return
                await self._say(writer, own if reply is None else reply)
                if self._hangs_up and reply is not None:
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _say(self, writer: asyncio.StreamWriter, reply: bytes) -> None:
        writer.write(reply.removeprefix(DRIP))
        await writer.drain()
        while reply.startswith(DRIP):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)
