"""A thread of its own for what may block for long: it keeps nobody else's work waiting.

asyncio's default executor has eight threads on a Raspberry Pi. Serial ports whose open hangs in the
driver, a compile and a query on a locked database would leave none for the writes of the gateway itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


async def apart(name: str, function: Callable[..., Result], *arguments: object) -> Result:
    """What `function` returns or raises, run in a new thread called `name`.

    A caller that is cancelled leaves it to end by itself; a process that ends does not wait for it.
    """
    done: Future[Result] = Future()
    done.set_running_or_notify_cancel()  # from here on a caller that is cancelled cannot cancel it

    def run() -> None:
        try:
            done.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001 - goes to the caller
            done.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await asyncio.wrap_future(done)
