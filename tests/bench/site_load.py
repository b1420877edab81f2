"""The devices of a site: topics that publish once a second, and serial ports that never pause.

`tests.bench.site` starts this as a process of its own. Everything leaves by the clock, from an agreed instant on,
so that who knows a reading's number knows when it was due.

Serial: JSON lines of a BME280 on an Arduino (profile arduino/bme280), at what 115200 baud carry: 8N1 makes ten
bits of a byte, so 11,520 bytes/s. They come in portions every 5 ms, each port's at another moment, as an USB
adapter delivers them. What the terminal does not take in time is lost, as it is in a UART, and counted.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import select
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.bench.load import reading
from tests.bench.mqtt import PUBACK, Client, encoded

BYTES = 11_520  # a second on each port
TICK = 0.005  # seconds between portions
STEPS = 4000  # temperatures; a line's number is in its temperature and pressure
PROBE = 79_999 * STEPS  # the number of lines that only ask whether a port is read


def line(port: int, number: int) -> bytes:
    """A line; its port is in the humidity. All have the same length."""
    temperature, pressure = 10 + number % STEPS / 100, 300 + number // STEPS / 100
    return b'{"temperature": %5.2f, "humidity": %5.2f, "pressure": %7.2f}\r\n' % (
        temperature,
        10 + port,
        pressure,
    )


SIZE = len(line(0, 0))


def number_of(values: dict[str, Any]) -> tuple[int, int]:
    """Port and number of a line, from its values."""
    step, high = round((values["temperature"] - 10) * 100), round((values["pressure"] - 300) * 100)
    return round(values["humidity"] - 10), step + STEPS * high


def lines(seconds: float) -> int:
    """Whole lines of a port."""
    return int(seconds * BYTES / SIZE)


def line_due(port: int, number: int, ports: int) -> float:
    """Seconds after the beginning at which a line's last byte is sent."""
    portion = math.ceil((number + 1) * SIZE / (BYTES * TICK) - 1e-9)
    return (portion + port / ports) * TICK


class Wire:
    """One port."""

    def __init__(self, descriptor: int, port: int, ports: int, seconds: float) -> None:
        self._descriptor = descriptor
        self._bytes = b"".join(line(port, number) for number in range(lines(seconds)))
        self._sent = self._portion = 0
        self._offset = port / ports
        self.overrun = 0  # bytes that nobody took in time
        os.set_blocking(descriptor, False)

    @property
    def due(self) -> float:
        """When the next portion is."""
        done = self._sent >= len(self._bytes)
        return math.inf if done else (self._portion + 1 + self._offset) * TICK

    def send(self, now: float) -> None:
        """All portions that are due."""
        self._portion = int(now / TICK - self._offset)
        data = self._bytes[self._sent : int(self._portion * BYTES * TICK)]
        self._sent += len(data)
        try:
            self.overrun += len(data) - os.write(self._descriptor, data)
        except BlockingIOError:
            self.overrun += len(data)


class Sent(NamedTuple):
    """What left."""

    published: int
    acknowledged: int
    overrun: int  # bytes
    behind: float  # ms that the generator itself was late at worst
    cpu: float  # seconds it used


def send(port: int, topics: int, qos: int, seconds: float, begin: float, descriptors: Sequence[int]) -> Sent:
    """Everything, from `begin` (seconds since the epoch) on."""
    client = Client(port, f"site-{os.getpid()}")
    packets = [
        encoded(f"site/{number % topics}/reading", reading(number), qos, number)
        for number in range(int(topics * seconds))
    ]
    wires = [Wire(one, at, len(descriptors), seconds) for at, one in enumerate(descriptors)]
    published = acknowledged = 0
    behind = 0.0
    while True:
        next_packet = published / topics if published < len(packets) else math.inf
        due = min([next_packet, *(wire.due for wire in wires)])
        if due == math.inf:
            break
        now = time.time() - begin
        if now < due:
            if select.select([client], [], [], due - now)[0]:
                acknowledged += sum(one.kind == PUBACK for one in client.receive())
            continue
        behind = max(behind, now - due)
        upto = min(len(packets), int(now * topics) + 1) if packets else 0
        if upto > published:
            client.send(b"".join(packets[published:upto]))
            published = upto
        for wire in wires:
            if wire.due <= now:
                wire.send(now)
    end = time.monotonic() + 5
    while qos and acknowledged < published and time.monotonic() < end:
        select.select([client], [client] if client.unsent else [], [], 0.1)
        client.flush()
        acknowledged += sum(one.kind == PUBACK for one in client.receive())
    client.close()
    return Sent(
        published, acknowledged, sum(wire.overrun for wire in wires), behind * 1000, time.process_time()
    )


def main() -> None:
    """The command."""
    assert __doc__
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True, help="of a broker on this machine")
    parser.add_argument("--topics", type=int, default=1000)
    parser.add_argument("--qos", type=int, choices=(0, 1), default=1)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--begin", type=float, required=True, help="seconds since the epoch")
    parser.add_argument("--descriptors", type=int, nargs="*", default=[], help="of the ports, inherited")
    print(json.dumps(send(**vars(parser.parse_args()))._asdict()))


if __name__ == "__main__":
    main()
