"""Readings through the broker in the box: gateway killed, disk full, and none is acknowledged and lost."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

from edgewhisk.broker import packets
from tests.broker.bench import connect, publish
from tests.path.gateway import Gateway, free_port, until
from tests.path.test_full_disk import fill
from tests.path.test_main_job import fed, seqs
from tests.store.test_trouble import needs_root, tmpfs

WINDOW = 50


class Device:
    """Publishes {"seq": 1...} at QoS 1, so many ahead, and again what was not acknowledged."""

    def __init__(self, port: int, padding: int = 0) -> None:
        self._port = port
        self._padding = "x" * padding
        self._next = 1
        self._unacknowledged: dict[int, None] = {}
        self.acknowledged: list[int] = []
        self._buffer = bytearray()

    def join(self) -> None:
        """Connect, and send again."""

        def joined() -> bool:
            with contextlib.suppress(OSError):
                self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=10)
                self._socket.sendall(connect("device", clean=False))
                return len(self._socket.recv(4)) == 4
            return False

        until(joined, what="the broker answers")
        self._buffer.clear()
        for seq in self._unacknowledged:
            self._send(seq, again=True)

    def _send(self, seq: int, *, again: bool = False) -> None:
        payload = f'{{"seq":{seq},"more":"{self._padding}"}}'.encode()
        self._socket.sendall(publish("t/a", payload, 1, seq, again=again))

    def step(self, most: int, wait: float) -> None:
        """Send what the window lets through, and take what comes within `wait` seconds; raises `OSError`."""
        while self._next <= most and len(self._unacknowledged) < WINDOW:
            self._unacknowledged[self._next] = None
            self._next += 1
            self._send(self._next - 1)
        self._socket.settimeout(wait)
        with contextlib.suppress(TimeoutError):
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError
            self._buffer += data
        for first, body in packets.split(self._buffer, 100):
            assert first == packets.PUBACK
            seq = int.from_bytes(body, "big")
            self.acknowledged.append(seq)
            self._unacknowledged.pop(seq, None)

    def until(self, count: int) -> None:
        """Go on until so many are acknowledged."""
        end = time.monotonic() + 60
        while len(set(self.acknowledged)) < count:
            assert time.monotonic() < end, len(self.acknowledged)
            self.step(count, 1.0)

    def leave(self) -> None:
        self._socket.close()


def test_a_kill_in_mid_stream(tmp_path: Path) -> None:
    port = free_port()
    made = Gateway(tmp_path, f'[mqtt]\nurl = "embedded://127.0.0.1:{port}"\n').start()
    fed(made)
    device = Device(port)
    device.join()
    device.until(300)
    with contextlib.suppress(OSError):  # in the middle of what is under way
        device.step(400, 0.05)
        made.kill()
        device.until(1000)
    device.leave()
    made.start()
    device.join()
    device.until(600)
    device.leave()
    until(lambda: len(seqs(made.activations("echo"))) == 600, what="all ran")
    until(lambda: made.status()["buffer"]["unfinished"] == 0, what="nothing is unfinished")
    assert set(seqs(made.activations("echo"))) == set(range(1, 601))
    assert made.status()["broker"]["queued"] == 0
    assert made.stop() == 0


@needs_root
def test_a_full_disk(tmp_path: Path) -> None:
    port = free_port()
    with tmpfs(tmp_path / "disk", 64 << 20) as disk:
        settings = f'[mqtt]\nurl = "embedded://127.0.0.1:{port}"\n[buffer]\nmin_free_bytes = 1000000\n'
        made = Gateway(tmp_path / "g", settings)
        (tmp_path / "g" / "state").rename(tmp_path / "cache")
        (disk / "state").mkdir(mode=0o700)
        (tmp_path / "g" / "state").symlink_to(disk / "state")
        (disk / "state" / "cache").symlink_to(tmp_path / "cache" / "cache")
        made.start()
        fed(made)
        device = Device(port, padding=20_000)
        device.join()
        device.until(20)
        fill(disk / "filler")
        end = time.monotonic() + 60
        while not any("the disk takes nothing new" in line for line in made.status()["incidents"]):
            assert time.monotonic() < end
            with contextlib.suppress(OSError):
                device.step(10_000, 0.1)
        made.kill()
        device.leave()
        told = set(device.acknowledged)
        (disk / "filler").unlink()
        made.start()
        until(lambda: told <= set(seqs(made.activations("echo"))), what="all that was acknowledged ran")
        device.join()
        device.until(len(told) + 20)
        device.leave()
        assert made.stop() == 0
