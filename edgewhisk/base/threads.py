"""A thread of its own for what may block for long: it keeps nobody else's work waiting.

asyncio's default executor has eight threads on a Raspberry Pi. Serial ports whose open hangs in the
driver, a compile and a query on a locked database would leave none for the writes of the gateway itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

Result = TypeVar("Result")


Job = Callable[[], None]

IDLE: Final = (
    10.0  # seconds for which a thread waits for more: to start one costs 0.1 ms, and far more under load
)
_idle: list[SimpleQueue[Job]] = []  # of the threads that wait
_lock = threading.Lock()  # guards them


async def apart(name: str, function: Callable[..., Result], *arguments: object) -> Result:
    """What `function` returns or raises, run in a thread that has nothing else to do: `name`, meanwhile.

    A caller that is cancelled leaves it to end by itself; a process that ends does not wait for it.
    """
    done: Future[Result] = Future()
    done.set_running_or_notify_cancel()  # from here on a caller that is cancelled cannot cancel it

    def run() -> None:
        threading.current_thread().name = name
        try:
            done.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001 - goes to the caller
            done.set_exception(error)

    with _lock:
        waiting = _idle.pop() if _idle else None
    if waiting is None:
        threading.Thread(target=_serve, args=(run,), name=name, daemon=True).start()
    else:
        waiting.put(run)
    return await asyncio.wrap_future(done)


def _serve(job: Job) -> None:
    """Run a job, and those that come within `IDLE`."""
    given: SimpleQueue[Job] = SimpleQueue()
    given.put(job)
    del job
    while (following := _next(given)) is not None:
        following()
        del following  # what it holds
        threading.current_thread().name = "spare"
        with _lock:
            _idle.append(given)


def _next(given: SimpleQueue[Job]) -> Job | None:
    try:
        return given.get(timeout=IDLE)
    except Empty:
        with _lock:
            if given in _idle:
                _idle.remove(given)
                return None
        return given.get()  # it came at the last moment
