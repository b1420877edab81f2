"""No source is busy while it fails: tries are counted, for each source in each failure.

The bounds are upper ones, so a slow machine passes: what was seen before were thousands.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sqlite3
import termios
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from edgewhisk.actuator.outbox import Outbox
from edgewhisk.actuator.request import Command
from edgewhisk.actuator.targets.http import HttpTarget
from edgewhisk.clock.history import ClockHistory
from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import FileConfig, SerialConfig
from edgewhisk.device.profile import Line
from edgewhisk.entity.names import parse_name
from edgewhisk.feed.changes.couchdb import CouchFeed
from edgewhisk.feed.changes.file import FileFeed
from edgewhisk.feed.modbus.feed import ModbusFeed
from edgewhisk.feed.mqtt.feed import MqttFeed
from edgewhisk.feed.serial.feed import SerialFeed
from edgewhisk.store.dead_letters import DeadLetters
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.sync.sync import Sync
from edgewhisk.transport.modbus.buses import ModbusBuses
from edgewhisk.transport.mqtt.brokers import MqttBrokers
from edgewhisk.transport.mqtt.connection import MqttLink
from edgewhisk.transport.serial import discovery
from edgewhisk.transport.serial.port import MAX_RETRY_PAUSE, SOONEST, SerialPort
from edgewhisk.transport.serial.ports import SerialPorts
from tests.fakes.fire import RecordingFire
from tests.feed.running import running
from tests.path.gateway import free_port
from tests.store.activations.test_activations import commit, open_store, record
from tests.sync.cloud import openwhisk

T = parse_name("/guest/t", "_")
SPAN: Final = 1.2  # seconds
FEW: Final = 4  # tries within that: at once, after 1 s, and two for those that ask why
NOISY: Final = FEW + int(SPAN / SOONEST)  # where others may stir in the folder meanwhile


async def _tries(count: Callable[[], int], least: int = 1) -> int:
    """How many tries there were within `SPAN`; waits for `least`, so that the failure was seen."""
    async with asyncio.timeout(20):
        while count() < least:  # noqa: ASYNC110 - a real device
            await asyncio.sleep(0.01)
    await asyncio.sleep(SPAN)
    return count()


async def _stir(path: Path) -> None:
    """Something else happens in the folder, all the time, if there is one."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            path.touch()  # noqa: ASYNC240 - quick
        await asyncio.sleep(0.001)


# -- ports ------------------------------------------------------------------------------------------


@pytest.fixture
def port() -> Iterator[str]:
    """A device below /dev/pts: named itself, as a link would be watched instead of it."""
    master, slave = os.openpty()
    tty.setraw(slave)
    yield os.ttyname(slave)
    os.close(slave)
    os.close(master)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was opened, each time."""
    seen: list[str] = []
    connect = discovery.connect

    def counted(path: str, line: Line) -> Any:
        seen.append(path)
        return connect(path, line)

    monkeypatch.setattr(discovery, "connect", counted)
    return seen


async def _serial(path: str, opened: list[str]) -> tuple[int, dict[str, Any]]:
    ports = SerialPorts({"p": SerialConfig(path)}, SystemClock())
    made = SerialFeed(ports, RecordingFire(), SystemClock())
    await made.add(T, "serial/reading", {"port": "p", "profile": "arduino/dht"})
    async with running(made, ports):
        return await _tries(lambda: len(opened)), made.describe(T)


def test_a_serial_port_that_another_program_holds(port: str, opened: list[str]) -> None:
    held = discovery.connect(port, Line())
    opened.clear()
    count, told = asyncio.run(_serial(port, opened))
    held.close()
    assert "another program" in told["last_error"]
    assert count <= NOISY


def _refuse(*_: Any) -> None:
    raise termios.error(22, "Invalid argument")


def test_a_serial_port_whose_settings_the_driver_refuses(
    port: str, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(termios, "tcsetattr", _refuse)
    count, told = asyncio.run(_serial(port, opened))
    assert "refuses these settings" in told["last_error"]
    assert count <= NOISY


def test_a_serial_port_that_opens_and_dies_at_once(
    port: str, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-dead USB adapter: the first read fails. The pty itself cannot be made to do that."""
    connect = discovery.connect

    def dying(path: str, line: Line) -> Any:
        device = connect(path, line)
        master, slave = os.openpty()
        tty.setraw(slave)
        os.dup2(slave, device.fileno())
        os.close(slave)
        os.close(master)  # from now on, each read fails with EIO
        return device

    monkeypatch.setattr(discovery, "connect", dying)
    count, told = asyncio.run(_serial(port, opened))
    assert told["last_error"]
    assert count <= NOISY


def test_a_port_that_is_away_in_a_folder_where_much_happens(tmp_path: Path, opened: list[str]) -> None:
    async def play() -> int:
        task = asyncio.create_task(_stir(tmp_path / "other"))
        count, _ = await _serial(str(tmp_path / "absent"), opened)
        task.cancel()
        return count

    assert asyncio.run(play()) <= NOISY


async def _modbus(where: dict[str, str], count: Callable[[], int]) -> tuple[int, dict[str, Any]]:
    made = ModbusFeed(ModbusBuses({}, SystemClock()), RecordingFire(), SystemClock())
    wish = made.check("modbus/reading", {"profile": "eastron/sdm120", "every": 0.05, **where})
    await made.add(T, "modbus/reading", wish)
    async with running(made):
        return await _tries(count), made.describe(T)


def test_a_modbus_line_that_another_program_holds(port: str, opened: list[str]) -> None:
    held = discovery.connect(port, Line())
    opened.clear()
    count, told = asyncio.run(_modbus({"port": port}, lambda: len(opened)))
    held.close()
    assert "another program" in told["last_error"]
    assert count <= FEW


def test_a_modbus_line_whose_settings_the_driver_refuses(
    port: str, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(termios, "tcsetattr", _refuse)
    count, _ = asyncio.run(_modbus({"port": port}, lambda: len(opened)))
    assert count <= FEW


def test_a_serial_line_that_is_held_is_tried_ever_less_often() -> None:
    """Each try resets devices that reset when the port is opened, such as an Arduino."""
    made = SerialPort("/dev/p", Line(), SystemClock(), lambda: None)
    waits = []
    for _ in range(8):
        made.failed(100.0, 0.999, OSError(16, "busy"))
        waits.append(made.due - 100.0)
    assert waits == sorted(waits)
    assert waits[-1] > MAX_RETRY_PAUSE * 0.9
    made.failed(100.0, 0.999, FileNotFoundError(2, "gone"))
    assert made.due == 101.0  # one that is plugged in again is there within a second or two
    made.tried = 99.9
    made.news()
    assert made.due == pytest.approx(99.9 + SOONEST)


# -- over the network -------------------------------------------------------------------------------


Say = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _close(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Hang up at once."""


def _http(*answers: bytes) -> Say:
    """The answers in turn, the last one for ever."""
    left = list(answers)

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = re.search(rb"content-length: (\d+)", head.lower())
        await reader.readexactly(int(size.group(1)) if size else 0)
        writer.write(left.pop(0) if len(left) > 1 else left[0])

    return say


def _status(code: int, body: bytes = b"{}") -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (code, len(body), body)


def _mqtt(answer: bytes) -> Say:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(answer)

    return say


@contextlib.asynccontextmanager
async def _server(say: Say) -> AsyncIterator[tuple[int, list[int]]]:
    """Its port, and one entry for each connection."""
    seen: list[int] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(1)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await say(reader, writer)
            await writer.drain()
        writer.close()

    made = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield made.sockets[0].getsockname()[1], seen
    finally:
        made.close()


def test_a_modbus_gateway_that_hangs_up() -> None:
    async def play() -> None:
        async with _server(_close) as (number, seen):
            count, _ = await _modbus({"host": f"127.0.0.1:{number}"}, lambda: len(seen))
            assert count <= 2 * FEW + 2  # every 0.05 s was asked for, and doubles

    asyncio.run(play())


def test_a_modbus_gateway_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        seen: list[int] = []
        connect = asyncio.open_connection

        async def counted(*given: Any, **more: Any) -> Any:
            seen.append(1)
            return await connect(*given, **more)

        monkeypatch.setattr(asyncio, "open_connection", counted)  # what asks why it cannot be reached
        count, told = await _modbus({"host": f"127.0.0.1:{free_port()}"}, lambda: len(seen))
        assert "refused" in told["last_error"]
        assert count <= FEW

    asyncio.run(play())


COUCH = b'{"update_seq": %b}'


@pytest.mark.parametrize(
    "say",
    [
        pytest.param(_close, id="hangs up"),
        pytest.param(_http(_status(500)), id="500"),
        pytest.param(_http(_status(401)), id="401"),
        pytest.param(_http(_status(200, b"<html>")), id="no CouchDB"),
        pytest.param(_http(_status(200, COUCH % b'"1-x"'), _status(200, b"")), id="changes end at once"),
        pytest.param(_http(_status(200, COUCH % (b"9" * 5000))), id="a number of 5000 digits"),
        pytest.param(_http(_status(200, COUCH % (b'"' + b"9" * 5000 + b'"'))), id="a token of 5000 digits"),
    ],
)
def test_a_database_that_fails(say: Say, tmp_path: Path) -> None:
    async def play() -> None:
        shelf = LogDocumentStore.open(tmp_path)
        made = CouchFeed(RecordingFire(), SystemClock(), shelf)
        async with _server(say) as (number, seen):
            asked = {"url": f"http://127.0.0.1:{number}", "db": "d", "since": "0"}
            wish = made.check("changes/couchdb", asked)
            await made.add(T, "changes/couchdb", wish)
            async with running(made, shelf):
                assert await _tries(lambda: len(seen)) <= 2 * FEW  # info and changes
                assert made.describe(T)["state"] == "waiting"
                assert made.describe(T)["last_error"]

    asyncio.run(play())


@pytest.mark.parametrize(
    "say",
    [
        pytest.param(_close, id="hangs up"),
        pytest.param(_mqtt(b"\x20\x02\x00\x05"), id="not authorized"),
        pytest.param(_mqtt(b"HTTP/1.1 400 Bad Request\r\n\r\n"), id="no broker"),
        pytest.param(_mqtt(b"\x20\x02\x00\x00"), id="hangs up behind CONNACK"),
    ],
)
def test_a_broker_that_fails(say: Say, tmp_path: Path) -> None:
    async def play() -> None:
        shelf = LogDocumentStore.open(tmp_path)
        async with _server(say) as (number, seen):
            links = {"": MqttLink("127.0.0.1", number, "edge-pacing")}
            dead = DeadLetters(shelf, SystemClock())
            made = MqttFeed(
                MqttBrokers(links, SystemClock()),
                RecordingFire(),
                SystemClock(),
                dead,
                [],
                lambda _subject, _topic: True,
            )
            await made.add(T, "mqtt/message", made.check("mqtt/message", {"topic": "t"}))
            async with running(made, made.brokers, shelf):
                assert await _tries(lambda: len(seen)) <= FEW

    asyncio.run(play())


@pytest.mark.parametrize(
    "say", [pytest.param(_close, id="hangs up"), pytest.param(_http(_status(503)), id="503")]
)
def test_a_server_that_takes_no_command(say: Say, tmp_path: Path) -> None:
    async def play() -> None:
        shelf, clock, requests = LogDocumentStore.open(tmp_path), SystemClock(), HttpTarget()
        outbox = Outbox(shelf, clock, [requests], ClockHistory({}).moment)
        async with _server(say) as (number, seen):
            body = {"url": f"http://127.0.0.1:{number}/", "method": "PUT", "headers": {}}
            await outbox.send([Command("http", f"http:127.0.0.1:{number}", "127.0.0.1", body)] * 5)
            task = asyncio.create_task(outbox.run())
            assert await _tries(lambda: len(seen)) <= FEW + 5  # five at once, then one
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await requests.close()
        await shelf.close()

    asyncio.run(play())


HAVE = _status(200, b'{"have": 0}')


@pytest.mark.parametrize(
    "say",
    [
        pytest.param(_close, id="hangs up"),
        pytest.param(_http(_status(503)), id="503"),
        pytest.param(_http(_status(401)), id="401"),
        pytest.param(_http(_status(200, b"[]")), id="says nothing"),
        pytest.param(_http(HAVE), id="keeps nothing"),
    ],
)
def test_a_cloud_that_fails(say: Say, tmp_path: Path) -> None:
    async def play() -> None:
        store = open_store(tmp_path)
        commit(store, record(1))
        async with _server(say) as (number, seen):
            cloud = openwhisk(f"http://127.0.0.1:{number}", "edge/ingest")
            sync = Sync(store, cloud, SystemClock(), interval=0)
            task = asyncio.create_task(sync.run())
            assert await _tries(lambda: len(seen)) <= 2 * FEW  # a question, then a batch
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await cloud.close()
        store.close()

    asyncio.run(play())


# -- files ------------------------------------------------------------------------------------------


def _without_the_table(path: Path) -> None:
    """Each look makes and removes files beside it, which must not be taken for news."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE other (x)")
    database.commit()
    database.close()


@pytest.mark.parametrize("kind", ["no table", "no file", "no folder", "no database"])
def test_a_file_that_fails(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    path = folder / "x"
    if kind != "no folder":
        folder.mkdir()
    if kind == "no table":
        _without_the_table(path)
    elif kind == "no database":
        path.write_bytes(b"\xff\xfe")

    async def play() -> None:
        shelf = LogDocumentStore.open(tmp_path / "shelf")
        made = FileFeed({"x": FileConfig(path)}, RecordingFire(), SystemClock(), shelf)
        await made.add(T, "changes/file", made.check("changes/file", {"file": "x", "table": "t", "since": 0}))
        async with running(made, shelf):
            stirring = asyncio.create_task(_stir(folder / "other"))
            count = await _tries(lambda: made._sources[T].looks)
            stirring.cancel()
            assert made.describe(T)["state"] == "waiting"
            assert count <= 2

    asyncio.run(play())
