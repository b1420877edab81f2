"""asyncio without sockets: a loop that can only sleep."""

import asyncio
import json
import time

import wit_world

LONGEST = 1 << 33  # seconds, as time.sleep takes them


def sleep(seconds):
    """time.sleep by the gateway, which ends it when the action's time is over."""
    if not seconds >= 0:  # true for NaN, too
        raise ValueError("sleep length must be non-negative")
    if seconds > LONGEST:
        raise OverflowError("timestamp too large to convert to C PyTime_t")
    wit_world.ask(json.dumps({"op": "sleep", "ms": seconds * 1000}))


time.sleep = sleep


class _Selector:
    """Nothing ever becomes readable; waiting is sleeping."""

    def select(self, timeout=None):
        """Sleep; without a timeout nothing would ever end it."""
        if timeout is None:
            raise RuntimeError("the action waits for something that will never happen")
        if timeout > 0:
            time.sleep(timeout)
        return []

    def close(self):
        """Nothing to close."""


class _Loop(asyncio.BaseEventLoop):
    def __init__(self):
        super().__init__()
        self._selector = _Selector()
        self._clock_resolution = 1e-6

    def _process_events(self, event_list):
        """There are none."""

    def _write_to_self(self):
        """Nobody else could wake us."""


class _Policy:
    """What asyncio.run asks for a loop."""

    _loop = None

    def get_event_loop(self):
        """The loop of this call."""
        if self._loop is None:
            self._loop = self.new_event_loop()
        return self._loop

    def set_event_loop(self, loop):
        """Remember it."""
        self._loop = loop

    def new_event_loop(self):
        """A loop that sleeps."""
        return _Loop()


def run(coroutine):
    """The result of a coroutine."""
    return asyncio.run(coroutine, loop_factory=_Loop)


asyncio.events._event_loop_policy = _Policy()
