"""Invoking actions and firing triggers, for the API and for feeds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, NamedTuple, Protocol

from edgewhisk import jsontext
from edgewhisk.controller.actions import Actions
from edgewhisk.controller.auth.entitlement import ConcurrencyThrottle, RateThrottle, check_owner
from edgewhisk.controller.auth.subjects import Subjects
from edgewhisk.controller.entities import Entities
from edgewhisk.controller.firing import fired_records, messages, posted, refused
from edgewhisk.controller.resolver import Resolver
from edgewhisk.controller.system import SystemAction
from edgewhisk.entity.activation import Record, trigger_record
from edgewhisk.entity.identity import Identity
from edgewhisk.entity.invocation.arguments import ResolvedAction, check_final, merge_json
from edgewhisk.entity.invocation.message import (
    ActivationMessage,
    BatchResult,
    Outcome,
    Status,
    TriggerEvent,
    UniformResult,
    outcomes_of,
)
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.errors import (
    BadRequest,
    EdgeWhiskError,
    NotFound,
    ServiceError,
    StorageError,
    Throttled,
    Unavailable,
)
from edgewhisk.spi import ActivationStore, Clock

_TRIGGER: Final = attrgetter("trigger")
INVOKE: Final = "invoke"
FIRE: Final = "fire"
WEB: Final = "web"


# Seconds that a run counts which nobody waits for, at most: one that waits for an engine, or for an action
# that always fails, must not keep others out for good.
_IN_FLIGHT: Final = 600.0


class Running(Protocol):
    """The invoker, as the controller sees it. All methods are called on the event loop."""

    def watch(self, activation_id: str, over: Callable[[], None], seconds: float) -> None:
        """See `Invoker.watch`."""
        ...

    def submit(self, messages: Sequence[ActivationMessage], *, urgent: bool) -> asyncio.Future[None]:
        """Run `messages`; the future is done when the durable ones are on disk."""
        ...

    def run(self, message: ActivationMessage) -> asyncio.Future[Record]:
        """Run one message whose record somebody waits for; done when the record is on disk."""
        ...

    def record(self, record: Record) -> asyncio.Future[None]:
        """Store the record of a trigger; done when it is on disk."""
        ...

    def full(self, triggers: Iterable[FullyQualifiedName]) -> bool:
        """Whether any of these triggers has its part of the queue."""
        ...

    def crowded(self, namespace: str) -> bool:
        """Whether callers of a namespace must be refused."""
        ...

    def on_room(self, resume: Callable[[], None], triggers: Iterable[FullyQualifiedName]) -> None:
        """Call `resume` once when all of these triggers have room."""
        ...


class InvokeAnswer(NamedTuple):
    """What an invoke gave: the id, and the record unless it was not waited for."""

    activation_id: str
    record: Record | None
    composed: bool = False  # by a sequence or a conductor


class Controller:
    """Starts what callers and feeds ask for. Implements `spi.Fire` for the feeds."""

    def __init__(
        self,
        entities: Entities,
        resolver: Resolver,
        actions: Actions,
        invoker: Running,
        store: ActivationStore,
        subjects: Subjects,
        limits: Limits,
        clock: Clock,
    ) -> None:
        """Wire the stages; `system` actions are added by the composition root."""
        self.system: dict[FullyQualifiedName, SystemAction] = {}
        self.unruled = 0  # events whose trigger had no active rule: by OpenWhisk's rules, no record
        self._entities = entities
        self._resolver = resolver
        self._actions = actions
        self._invoker = invoker
        self._store = store
        self._subjects = subjects
        self._clock = clock
        self._limits = limits
        # Web actions have budgets of their own: a page that polls must not lock its owner's tools out.
        self._invocations = RateThrottle(limits.invocations_per_minute)
        fires, web = RateThrottle(limits.fires_per_minute), RateThrottle(limits.web_per_minute)
        self._rates = {INVOKE: self._invocations, FIRE: fires, WEB: web}
        self._flying = {kind: ConcurrencyThrottle(limits.concurrent_invocations) for kind in (INVOKE, WEB)}
        self.full = invoker.full  # whether feeds must hold back
        self.on_room = invoker.on_room  # calls back once when feeds may go on

    # -- feeds -----------------------------------------------------------------------------------

    def __call__(self, events: Sequence[TriggerEvent]) -> asyncio.Future[None]:
        """Fire triggers for a feed; see `spi.Fire`."""
        if (why := self._store.refusal) and any(event.durable for event in events):
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            failed.set_exception(StorageError(why))
            return failed
        batch: list[ActivationMessage] = []
        told: list[Record] = []
        for trigger, run in groupby(events, key=_TRIGGER):  # in most calls one
            plan, fired = self._resolver.plan(trigger), list(run)
            if plan is None or not plan.starts:
                self.unruled += len(fired)
            else:
                ids = self._clock.activation_ids(len(fired) * len(plan.starts))
                batch += messages(plan, fired, ids)
            if plan is not None and plan.recorded and plan.active:
                begun = [message.activation_id for message in batch[-len(fired) * len(plan.starts) :]]
                own = self._clock.activation_ids(len(fired))
                told += fired_records(plan, fired, own, begun, self._clock.timing)
        accepted = self._invoker.submit(batch, urgent=False)
        if told:
            accepted.add_done_callback(partial(self._tell, told))
        return accepted

    def _tell(self, records: Sequence[Record], accepted: asyncio.Future[None]) -> None:
        """Store the records of triggers whose events are on disk; what the disk refuses is counted there."""
        if accepted.cancelled() or accepted.exception() is not None:
            return  # they are fired again
        for record in records:
            self._invoker.record(record).add_done_callback(_seen)

    # -- the API ---------------------------------------------------------------------------------

    def admit(self, identity: Identity, kind: str = INVOKE) -> None:
        """Count one request against the caller's rates (`INVOKE`, `FIRE`, `WEB`); raises `Throttled`.

        Called before anything else of the request is looked at, as OpenWhisk does.
        """
        self._rates[kind].check(identity.namespace, self._clock.now())

    async def fire(
        self, identity: Identity, name: FullyQualifiedName, payload: bytes, headers: Mapping[str, str]
    ) -> str | None:
        """Fire a trigger for a caller; the activation id, or None if it has no active rule."""
        check_owner(identity, name.namespace, name.key)
        plan = self._resolver.plan(name)
        if plan is None:
            self._entities.get(self._entities.triggers, name)
            raise NotFound
        if not plan.active:
            return None
        self._check_room(identity.namespace)
        now = self._clock.now()
        trigger_id, *ids = self._clock.activation_ids(1 + len(plan.starts))
        argued = merge_json(payload, jsontext.dumps({"__ow_headers": dict(headers)}))
        event = TriggerEvent(name, argued, now, durable=True)
        entries: list[dict[str, Any]] = []
        admitted: list[ActivationMessage] = []
        for start, message in zip(plan.starts, messages(plan, [event], ids), strict=True):
            try:
                self._invocations.check(identity.namespace, now)
                self._check_start(message)
            except (Throttled, BadRequest) as error:
                entries.append(refused(start, error.message))
            else:
                admitted.append(message)
                entries.append(posted(start, message.activation_id))
        await self._invoker.submit(admitted, urgent=True)
        fired = ActivationMessage(trigger_id, name, identity.namespace, identity.subject, payload, now)
        logs = [*entries, *plan.problems]
        if plan.fires_recorded:
            await self._invoker.record(trigger_record(fired, plan.version, logs, self._clock.timing))
        return trigger_id

    async def invoke(
        self,
        identity: Identity,
        name: FullyQualifiedName,
        payload: bytes,
        wait: float | None,
        kind: str = INVOKE,
    ) -> InvokeAnswer:
        """Invoke an action with a JSON object; wait at most `wait` seconds, or not at all.

        An invocation that is not waited for is on disk when this returns.
        """
        bound: ResolvedAction = self._actions.find(identity, name)
        self._resolver.check_rights(bound.sequence or (), identity.namespace)
        check_final(bound, payload)
        message = ActivationMessage(
            self._clock.activation_ids(1)[0],
            bound.action.name,
            identity.namespace,
            identity.subject,
            payload,
            self._clock.now(),
            binding=bound.binding,
            durable=wait is None,
        )
        system = bound.action.name in self.system  # needs neither room nor a disk that takes records
        self._flying[kind].start(identity.namespace)
        landed: Callable[[], None] = partial(self._flying[kind].end, identity.namespace)
        try:
            if system:
                return InvokeAnswer(message.activation_id, await self._invoker.run(message))
            self._check_room(identity.namespace)
            if wait is None:
                answer = InvokeAnswer(message.activation_id, None)
                landed = self._flies_on(message, landed)
                await self._invoker.submit([message], urgent=True)
            elif (answer := await self._wait(message, wait, composed=bound.composed)).record is None:
                landed = self._flies_on(message, landed)
            return answer
        finally:
            landed()

    def _flies_on(self, message: ActivationMessage, landed: Callable[[], None]) -> Callable[[], None]:
        """Count a run until it is on record, though its caller does not wait; what is left to do now."""
        self._invoker.watch(message.activation_id, landed, _IN_FLIGHT)
        return _nothing

    def _check_start(self, message: ActivationMessage) -> None:
        """Raise `BadRequest` where an invocation with these arguments would be refused."""
        bound = self._resolver.bound(message.action, message.binding)
        if bound is not None:
            check_final(bound, message.payload)

    async def retry(self, message: ActivationMessage) -> str:
        """Run an event of the list of dead letters after all; on disk on return. Its activation id."""
        name = f"/{message.binding}/{message.action.name}" if message.binding else str(message.action)
        if self._resolver.entitled(parse_name(name, message.namespace), message.namespace) is None:
            raise NotFound(f"its action {name} does not exist any more", hint="create it again, or drop this")
        self._check_room(message.namespace)
        await self._invoker.submit([message._replace(at=self._clock.now())], urgent=True)
        return message.activation_id

    async def _wait(self, message: ActivationMessage, wait: float, *, composed: bool) -> InvokeAnswer:
        running = self._invoker.run(message)
        expiry = asyncio.get_running_loop().call_later(wait, _expire, running)
        try:
            record = await running
        except TimeoutError:  # nobody waits any more; the outcome is stored, or counted as unrecorded
            return InvokeAnswer(message.activation_id, None)
        finally:
            expiry.cancel()
        return InvokeAnswer(message.activation_id, record, composed)

    def _check_room(self, namespace: str) -> None:
        """Nothing is begun whose record could not be kept; raises `Unavailable` or `StorageError`."""
        if why := self._store.refusal:
            raise StorageError(why)
        if self._invoker.crowded(namespace):
            raise Unavailable(
                "The gateway's queue is full; try again later.", hint="raise limits.max_queue if this lasts"
            )

    def keeps(self, bound: ResolvedAction) -> bool:
        """Whether a successful call of an action whose code is this program is kept as an activation."""
        return self.system[bound.action.name].recorded

    def native(
        self, bound: ResolvedAction, namespace: str, payloads: Sequence[bytes]
    ) -> asyncio.Future[BatchResult]:
        """Run an action whose code is this program, on behalf of a namespace, for JSON objects or arrays.

        The future is done on return where nothing has to be waited for.
        """
        return self._alike(bound, namespace, payloads) or asyncio.ensure_future(
            self._one_by_one(bound, namespace, payloads)
        )

    def _alike(
        self, bound: ResolvedAction, namespace: str, payloads: Sequence[bytes]
    ) -> asyncio.Future[BatchResult] | None:
        """Run it without a look at each of the objects; None if they have to be read."""
        alike = self.system[bound.action.name].alike
        caller = self._subjects.find(namespace)
        if alike is None or caller is None:
            return None
        start = self._clock.now()
        future: asyncio.Future[BatchResult] = asyncio.get_running_loop().create_future()

        def told(found: Mapping[int, dict[str, Any] | EdgeWhiskError]) -> None:
            if not future.done():  # or nobody waits any more
                uniform = UniformResult([alike.usual] * len(payloads), start, self._clock.now())
                future.set_result(_with(found, uniform) if found else uniform)

        return future if alike.perform(caller, bound.text, payloads, told) else None

    async def _one_by_one(
        self, bound: ResolvedAction, namespace: str, payloads: Sequence[bytes]
    ) -> BatchResult:
        start = self._clock.now()
        given = jsontext.loads(b"[%b]" % b",".join(merge_json(bound.text, payload) for payload in payloads))
        results = await self._results(self.system[bound.action.name], namespace, given)
        end = self._clock.now()
        good = [jsontext.dumps(result) for result in results if isinstance(result, dict)]
        if len(good) == len(results):
            return UniformResult(good, start, end)
        return [_outcome(result, start, end) for result in results]

    async def _results(
        self, system: SystemAction, namespace: str, given: Sequence[Any]
    ) -> Sequence[dict[str, Any] | EdgeWhiskError]:
        identity = self._subjects.of(namespace)
        found = iter(await system.perform(identity, [one for one in given if isinstance(one, dict)]))
        array = BadRequest("the action takes an object, not an array")
        return [next(found) if isinstance(one, dict) else array for one in given]


def _outcome(result: dict[str, Any] | EdgeWhiskError, start: int, end: int) -> Outcome:
    if isinstance(result, EdgeWhiskError):
        hint = f" ({result.hint})" if result.hint else ""
        told: Any = f"{result.told}{hint}"
        if isinstance(result, ServiceError):
            told = {"error": result.told, **({"hint": result.hint} if result.hint else {})}
        text = jsontext.dumps({"error": told})
        return Outcome(Status.APPLICATION_ERROR, text, (), start, end)
    return Outcome(Status.SUCCESS, jsontext.dumps(result), (), start, end)


def _with(found: Mapping[int, dict[str, Any] | EdgeWhiskError], uniform: UniformResult) -> Sequence[Outcome]:
    """The outcomes of a batch of which some, by position, came to something else."""
    return [
        _outcome(found[at], uniform.start, uniform.end) if at in found else outcome
        for at, outcome in enumerate(outcomes_of(uniform))
    ]


def _seen(done: asyncio.Future[None]) -> None:
    if not done.cancelled():
        done.exception()


def _nothing() -> None:
    """Nothing is left to do."""


def _expire(running: asyncio.Future[Record]) -> None:
    if not running.done():
        running.set_exception(TimeoutError())
