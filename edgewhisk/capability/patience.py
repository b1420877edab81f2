"""A time for all of an HTTP request, from the first byte to the last, for threads that wait.

httpx has a time for each read only: a server that sends a byte every few seconds is never too slow for it,
and holds a worker for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore


class Patience(httpcore.SyncBackend):
    """`httpcore.NetworkBackend` whose connections end when the time of the thread that uses them is over."""

    def __init__(self) -> None:
        """No thread has a time yet."""
        super().__init__()
        self._until = threading.local()

    @contextmanager
    def until(self, end: float) -> Iterator[None]:
        """Gives this thread's requests until `end`, of `time.monotonic`, inside the block."""
        self._until.end = end
        try:
            yield
        finally:
            del self._until.end

    def left(self, timeout: float | None, late: type[Exception]) -> float | None:
        """Returns the seconds that an operation may take; raises `late` when there are none."""
        end: float | None = getattr(self._until, "end", None)
        if end is None:
            return timeout
        seconds = end - time.monotonic()
        if seconds <= 0:
            raise late("the answer did not come in time")
        return seconds if timeout is None else min(timeout, seconds)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """See `httpcore.NetworkBackend`."""
        left = self.left(timeout, httpcore.ConnectTimeout)
        return _Stream(super().connect_tcp(host, port, left, local_address, socket_options), self)


class _Stream(httpcore.NetworkStream):
    """A connection whose every operation takes from the same time."""

    def __init__(self, stream: httpcore.NetworkStream, patience: Patience) -> None:
        self._stream = stream
        self._patience = patience

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._patience.left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._patience.left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._patience.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._patience)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
