"""Runs on the event loop what is done sooner than it could be handed to a worker.

To wake a thread and to be woken by it costs 100 to 200 us, a brief action 20. Only actions that have
shown to be brief are run here, and one that takes longer than it used to is given up after `HURRY` and
run by a worker from the beginning.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from edgewhisk.entity.arguments import Bound
from edgewhisk.entity.message import ActivationMessage, Ran
from edgewhisk.errors import StorageError
from edgewhisk.invoker.acceptance import Acceptance, Waiting, on_loop
from edgewhisk.invoker.calls import Calls, Waiter
from edgewhisk.invoker.flight import Flight, Leg
from edgewhisk.invoker.job import LaneKey, places
from edgewhisk.invoker.landings import Begun, Landings
from edgewhisk.invoker.pace import HURRY, LARGEST
from edgewhisk.invoker.runner import Runner
from edgewhisk.room import Room
from edgewhisk.spi import ActivationStore, Clock

_log = logging.getLogger(__name__)

PROMPT: Final = 0.05  # seconds after which events are journalled whose last part is still under way
# Events whose results may leave before they are on disk. A source that sends the next reading for each
# result would else fill its broker's queue, which drops what is over 1,000 messages: seen with 5,000.
EARLY: Final = 256


class Offered(NamedTuple):
    """Events of one lane, in order."""

    lane: LaneKey
    bound: Bound
    messages: Sequence[ActivationMessage]
    accepted: Acceptance | None  # pending once for these; None: they were journalled, or are about to be


class Course(NamedTuple):
    """How events of a lane are run here."""

    bound: Bound
    steps: Sequence[Bound] | None  # the single actions that a run takes, as they are now; None: to be asked


class Hands(NamedTuple):
    """What the workers offer; called on the event loop."""

    take_call: Callable[[ActivationMessage, Waiter], None]
    take_events: Callable[[Offered, int], None]  # that turned out not to be brief; so many were tried
    busy: Callable[[], bool]
    landed: Callable[[], None]  # events that waited or were under way do no more
    refused: Callable[[int, StorageError], None]  # so many records, by the disk
    may_hurry: Callable[[Bound], bool]  # whether events may be run before they are journalled; any thread


class Brief:
    """Called on the event loop."""

    def __init__(
        self, runner: Runner, store: ActivationStore, clock: Clock, hands: Hands, window: float
    ) -> None:
        """What is not brief goes to `hands`; `window`: seconds that records may wait for company."""
        self._runner = runner
        self._store = store
        self._clock = clock
        self._hands = hands
        self._loop = asyncio.get_running_loop()
        self._offered: deque[Offered] = deque()
        self._lanes: Counter[LaneKey] = Counter()  # of what is offered, and of `_prompt`
        self._finishing: set[asyncio.Future[Ran]] = set()
        # Of those, what is under way for less than `PROMPT`.
        self._prompt: dict[asyncio.Future[Ran], LaneKey] = {}
        self._leaving: LaneKey | None = None  # what the workers get as soon as there is nothing in that
        self._tried = 0  # events at the front that could not be run here: a worker must
        self._unsettled = 0  # events that have begun, or may have, and are not on disk
        self._aloft = 0  # of those, the ones whose flight has not landed
        self._landing = asyncio.Event()  # set whenever something landed
        self.calls = Calls(runner, store, hands.take_call, hands.busy, hands.refused)
        self.landings = Landings(runner, store, clock, window, self._recorded)
        self.room = Room()  # what each trigger's events take that wait here or are under way

    def course(self, bound: Bound, namespace: str) -> Course | None:
        """How events are run here; None if they are not. Called from any thread."""
        steps = self._steps(bound, namespace)
        return None if steps is None else Course(bound, steps)

    def holds(self, lane: LaneKey) -> bool:
        """Whether events of a lane wait here or are under way: those that come next go behind them."""
        return lane in self._lanes

    def offer(self, events: Offered, steps: Sequence[Bound] | None) -> None:
        """Run events in order, behind those offered before; `steps` of their course.

        An event and its record share one write: its source delivers it again if that never happens.
        """
        self._offered.append(events)
        self._lanes[events.lane] += 1
        self.room.add(events.lane.trigger, places(events.messages))
        if len(self._offered) == 1:
            self._go_on(steps)

    def journal(self, messages: Sequence[ActivationMessage], accepted: Acceptance, *, urgent: bool) -> None:
        """Write down what workers are to run; at once where the results of many might leave before that."""
        durable = [message for message in messages if message.durable]
        if durable:
            accepted.pending += 1
            self._unsettled += len(durable)
            urgent = urgent or self._unsettled >= EARLY
            told = on_loop(self._loop, self._settle, [Waiting(durable, [accepted])])
            self._store.accept(durable, told, urgent=urgent)

    async def drain(self, seconds: float) -> bool:
        """Wait until nothing waits here or is under way; false if it took longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while self.room.taken:
                    self.landings.flush()
                    self._landing.clear()
                    await self._landing.wait()
        except TimeoutError:
            return False
        return True

    def _go_on(self, steps: Sequence[Bound] | None = None) -> None:
        """Run what was offered, as far as time and the disk allow; `steps` of the first if known."""
        end = self._clock.monotonic() + HURRY / 1000
        while self._offered and self._unsettled < EARLY:
            if self._leaving is not None:
                if self._prompt:  # its records stand before those of a worker
                    return
                self._give_back(self._leaving)
                self._leaving = None
                continue
            if self._clock.monotonic() > end:
                self._loop.call_soon(self._go_on)
                return
            first = self._offered[0]
            flight, steps = self._run(first, steps), None
            if flight is None:
                self._leaving = first.lane
            else:
                self._land(flight, self._leave(len(flight.messages)), first.lane)

    def _give_back(self, lane: LaneKey) -> None:
        """Leave the events of a lane to the workers."""
        given = [events for events in self._offered if events.lane == lane]
        tried, self._tried = self._tried, 0
        self._offered = deque(events for events in self._offered if events.lane != lane)
        del self._lanes[lane]
        for events in given:
            self._hands.take_events(events, tried)
            tried = max(0, tried - len(events.messages))
            self._lands(lane.trigger, places(events.messages))

    def _run(self, first: Offered, steps: Sequence[Bound] | None) -> Flight | None:
        """The flight of events that were run here; None if a worker must run them."""
        try:
            flight = self._prepare(first, steps)
        except Exception:  # noqa: BLE001 - supervisor: the worker that gets them records what is wrong
            _log.exception("%s cannot be run on the event loop", first.lane.action)
            self._tried = LARGEST
            return None
        if flight is None or self._runner.hurry(flight):
            return flight
        self._tried = len(flight.messages)
        return None

    def _leave(self, left: int) -> Waiting:
        """Take the first messages out of what is offered; who waits for them."""
        waiting = Waiting([], [])
        while left:
            events = self._offered.popleft()
            begun, rest = events.messages[:left], events.messages[left:]
            left -= len(begun)
            accepted = events.accepted
            if accepted is not None:
                durable = [message for message in begun if message.durable]
                if durable:
                    waiting.messages.extend(durable)
                    waiting.accepted.append(accepted)
                    accepted.pending += 1
                if not rest:
                    accepted.settle()
            if rest:
                self._offered.appendleft(events._replace(messages=rest))
            else:
                self._let_go(events.lane)
        self._unsettled += len(waiting.messages)
        self._aloft += len(waiting.messages)
        return waiting

    def _let_go(self, lane: LaneKey) -> None:
        """One less of a lane is here."""
        self._lanes[lane] -= 1
        if not self._lanes[lane]:
            del self._lanes[lane]

    def _prepare(self, first: Offered, steps: Sequence[Bound] | None) -> Flight | None:
        """The flight of as many events of a lane as may be run together; None if there are none."""
        bound = first.bound
        messages: list[ActivationMessage] = []
        for events in self._offered:
            if events.lane != first.lane or events.bound is not bound or len(messages) >= LARGEST:
                break
            messages += events.messages[: LARGEST - len(messages)]
        steps = steps or self._steps(bound, messages[0].namespace)
        if steps is None:
            return None
        if len(messages) > 1:
            messages = messages[: self._most(steps)]
        return self._runner.flight(bound, steps, messages)

    def _most(self, steps: Sequence[Bound]) -> int:
        """How many events may be run together."""
        ours = _ours(steps)
        return min([LARGEST, *(self._runner.pace.within(step.action.name) for step in ours)])

    def _steps(self, bound: Bound, namespace: str) -> Sequence[Bound] | None:
        """The single actions that a run takes; None if they cannot all be run here.

        All must be brief; the last one may be the gateway's own, which waits on the loop. Events may not
        set final parameters: a worker looks at those.
        """
        if not self._hands.may_hurry(bound):
            return None
        steps = self._runner.parts(bound, namespace)
        if steps is None or not all(self._runner.brief(step) and not step.final for step in _ours(steps)):
            return None
        return steps

    def _land(self, flight: Flight, waiting: Waiting, lane: LaneKey) -> None:
        """Bring a flight that has hurried to the disk; its last leg may still be to come."""
        if flight.leg is None:
            self._record(flight, waiting)
            return
        running = self._native(flight, flight.leg)
        if running.done():
            self._finish(flight, waiting, running)
            return
        time = flight.leg.bound.action.limits.timeout / 1000
        early = self._loop.call_later(PROMPT, self._late, running, waiting, time)
        self._finishing.add(running)
        self._prompt[running] = lane
        self._lanes[lane] += 1

        def finish(running: asyncio.Future[Ran]) -> None:
            self._finishing.discard(running)
            early.cancel()
            self._finish(flight, waiting, running)
            self._come_down(running)
            if self._leaving is not None:
                self._go_on()

        running.add_done_callback(finish)

    def _come_down(self, running: asyncio.Future[Ran]) -> None:
        """Others of the lane need not wait for that any longer."""
        lane = self._prompt.pop(running, None)
        if lane is not None:
            self._let_go(lane)

    def _native(self, flight: Flight, leg: Leg) -> asyncio.Future[Ran]:
        """Run a leg that is the gateway's own."""
        try:
            return self._runner.native(leg, flight.messages[0].namespace)
        except Exception as error:  # noqa: BLE001 - supervisor: `_finish` tells
            failed: asyncio.Future[Ran] = self._loop.create_future()
            failed.set_exception(error)
            return failed

    def _finish(self, flight: Flight, waiting: Waiting, running: asyncio.Future[Ran]) -> None:
        """The last leg was run."""
        try:
            expired = flight.leg if running.cancelled() else None
            flight.land(running.result() if expired is None else self._runner.expired(expired))
        except Exception:  # noqa: BLE001 - supervisor: events outlive a fault in our own code
            _log.exception("%s failed", flight.bound.action.name)
            self._aloft -= len(waiting.messages)
            self.landings.fail(flight, waiting)
        else:
            self._record(flight, waiting)

    def _late(self, running: asyncio.Future[Ran], waiting: Waiting, time: float) -> None:
        """A last leg takes its time, of which it has so many seconds: the events are journalled meanwhile."""
        limit = self._loop.call_later(max(0.0, time - PROMPT), running.cancel)
        running.add_done_callback(lambda _: limit.cancel())
        self._come_down(running)
        if waiting.messages:
            self._aloft -= len(waiting.messages)
            self._store.accept(
                list(waiting.messages), on_loop(self._loop, self._settle, [waiting.give_up()]), urgent=False
            )
        if self._leaving is not None:
            self._go_on()

    def _record(self, flight: Flight, waiting: Waiting) -> None:
        """Write down what came of a flight; in a hurry if more may begin then.

        What is still aloft comes down soon, and shares the commit.
        """
        self._aloft -= len(waiting.messages)
        hurry = not self._aloft and self._unsettled >= EARLY
        if flight.smooth:
            self.landings.add(flight, waiting, hurry=hurry)
            return
        self.landings.alone(flight, waiting, urgent=hurry)

    def _recorded(self, begun: Begun, waiting: Sequence[Waiting], error: StorageError | None) -> None:
        self._lands(begun.trigger, begun.places)
        if error is not None:
            self._hands.refused(begun.events, error)
        self._settle(waiting, error)

    def _lands(self, trigger: str, room: int) -> None:
        self.room.add(trigger, -room)
        self._landing.set()
        self._hands.landed()

    def _settle(self, waiting: Sequence[Waiting], error: StorageError | None) -> None:
        """Tell those who wait, before anything else is begun: the queues of brokers are short."""
        for one in waiting:
            for accepted in one.accepted:
                accepted.settle(error)
        self._loop.call_soon(self._settled, sum(len(one.messages) for one in waiting))

    def _settled(self, count: int) -> None:
        self._unsettled -= count
        self._go_on()


def _ours(steps: Sequence[Bound]) -> Sequence[Bound]:
    """Those that a sandbox runs."""
    return steps[:-1] if steps[-1].native else steps
