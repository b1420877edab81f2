"""What the kernel is asked to wake the gateway for, on real connections."""

from __future__ import annotations

import array
import asyncio
import fcntl
import select
import socket
import termios
from collections.abc import Callable, Iterator

import pytest

from edgewhisk.transport.mqtt.coalescing import Coalescing
from tests.path.gateway import until

PUBACK = b"\x40\x02\0\1"
MESSAGE = b"m" * 60
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Both ends of a TCP connection: the broker's and ours."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs = server.accept()[0]
    with ours, theirs:
        yield theirs, ours


def come(ours: socket.socket, size: int) -> None:
    """Wait until so many bytes are in the kernel."""
    found = array.array("i", [0])

    def there() -> bool:
        fcntl.ioctl(ours, termios.FIONREAD, found)
        return found[0] >= size

    until(there, 5)


def wakes(ours: socket.socket) -> bool:
    return bool(select.select([ours], [], [], 0)[0])


def on_loop(pair: Pair, course: Callable[[socket.socket, socket.socket, Coalescing], None]) -> None:
    """Run a course, after which what was put off is still due; then what came must wake us."""
    theirs, ours = pair

    async def run() -> None:
        loop = asyncio.get_running_loop()
        wake = Coalescing(ours, loop)
        readable = asyncio.Event()
        try:
            course(theirs, ours, wake)
            loop.add_reader(ours, readable.set)
            await asyncio.wait_for(readable.wait(), 5)
        finally:
            loop.remove_reader(ours)
            wake.close()

    asyncio.run(run())


def test_each_segment_wakes_at_first(pair: Pair) -> None:
    def course(theirs: socket.socket, ours: socket.socket, wake: Coalescing) -> None:
        wake.came(1, len(MESSAGE), 0)
        theirs.sendall(b"\xd0\0")  # a PINGRESP
        come(ours, 2)
        assert wakes(ours)

    on_loop(pair, course)


def test_an_acknowledgement_alone_waits_but_not_for_ever(pair: Pair) -> None:
    def course(theirs: socket.socket, ours: socket.socket, wake: Coalescing) -> None:
        wake.came(1, len(MESSAGE), 1)
        put_off(theirs, ours, PUBACK)

    on_loop(pair, course)


def test_an_acknowledgement_comes_along_with_a_message(pair: Pair) -> None:
    def course(theirs: socket.socket, ours: socket.socket, wake: Coalescing) -> None:
        wake.came(1, len(MESSAGE), 1)
        theirs.sendall(PUBACK + b"\x30\3\0\1t")  # the smallest message
        come(ours, 9)
        assert wakes(ours)

    on_loop(pair, course)


def test_the_last_of_some_acknowledgements_wakes(pair: Pair) -> None:
    def course(theirs: socket.socket, ours: socket.socket, wake: Coalescing) -> None:
        wake.came(1, len(MESSAGE), 3)
        put_off(theirs, ours, PUBACK * 2)
        theirs.sendall(PUBACK)
        come(ours, 3 * len(PUBACK))
        assert wakes(ours)

    on_loop(pair, course)


def test_the_last_of_those_that_are_left_wakes(pair: Pair) -> None:
    def course(theirs: socket.socket, ours: socket.socket, wake: Coalescing) -> None:
        wake.came(1, len(MESSAGE), 3)
        wake.came(0, 2 * len(PUBACK), 1)
        theirs.sendall(PUBACK)
        come(ours, len(PUBACK))
        assert wakes(ours)

    on_loop(pair, course)


def test_a_message_does_not_wait_for_some_acknowledgements(pair: Pair) -> None:
    def course(theirs: socket.socket, ours: socket.socket, wake: Coalescing) -> None:
        wake.came(1, len(MESSAGE), 15)
        theirs.sendall(MESSAGE)
        come(ours, len(MESSAGE))
        assert wakes(ours)

    on_loop(pair, course)


def test_many_acknowledgements_come_together(pair: Pair) -> None:
    def course(theirs: socket.socket, ours: socket.socket, wake: Coalescing) -> None:
        wake.came(1, len(MESSAGE), 0)
        wake.sent(100)
        put_off(theirs, ours, PUBACK * 60 + MESSAGE)
        theirs.sendall(PUBACK * 40)
        come(ours, 100 * len(PUBACK))
        assert wakes(ours)
        wake.came(1, 60 * len(PUBACK) + len(MESSAGE), 0)  # the last ones came with it
        ours.recv(1000)
        theirs.sendall(b"\xd0\0")
        come(ours, 2)
        assert wakes(ours)

    on_loop(pair, course)


def test_many_acknowledgements_that_do_not_come_are_not_waited_for(pair: Pair) -> None:
    def course(theirs: socket.socket, ours: socket.socket, wake: Coalescing) -> None:
        wake.sent(100)
        put_off(theirs, ours, MESSAGE)

    on_loop(pair, course)


def test_many_acknowledgements_are_not_waited_for_as_long_as_one(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewhisk.transport.mqtt.coalescing._COURTESY", 60)

    def course(theirs: socket.socket, ours: socket.socket, wake: Coalescing) -> None:
        wake.came(1, len(MESSAGE), 1)
        wake.sent(100)
        put_off(theirs, ours, MESSAGE)

    on_loop(pair, course)


def put_off(theirs: socket.socket, ours: socket.socket, data: bytes) -> None:
    """Send what does not wake us yet."""
    theirs.sendall(data)
    come(ours, len(data))
    assert not wakes(ours)


def gathers(wake: Coalescing) -> None:
    """Until messages wait for others."""
    for _ in range(1000):
        wake.came(1, len(MESSAGE), 0)  # in much less than a millisecond


def test_messages_that_come_quickly_wait_for_others(pair: Pair) -> None:
    def course(theirs: socket.socket, ours: socket.socket, wake: Coalescing) -> None:
        gathers(wake)
        put_off(theirs, ours, MESSAGE)
        theirs.sendall(MESSAGE * 7)
        come(ours, 8 * len(MESSAGE))
        assert wakes(ours)

    on_loop(pair, course)


def test_a_message_without_company_waits_a_moment(pair: Pair) -> None:
    def course(theirs: socket.socket, ours: socket.socket, wake: Coalescing) -> None:
        gathers(wake)
        put_off(theirs, ours, MESSAGE)

    on_loop(pair, course)


def test_the_end_of_a_connection_wakes_at_once(pair: Pair) -> None:
    def course(theirs: socket.socket, ours: socket.socket, wake: Coalescing) -> None:
        gathers(wake)
        theirs.shutdown(socket.SHUT_WR)
        until(lambda: wakes(ours), 5)

    on_loop(pair, course)
