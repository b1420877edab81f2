"""The seams: what the stages of the data path expect of each other.

Each Protocol's docstring is its contract; `tests/contract/` runs one suite per Protocol over the real
implementation and over the fake that other tests use. Only `gateway/app.py` knows who implements what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Protocol

from edgewhisk.clock.offset import ClockOffset
from edgewhisk.entity.action import Action
from edgewhisk.entity.activation import Record
from edgewhisk.entity.exec import Exec
from edgewhisk.entity.invocation.arguments import ResolvedAction
from edgewhisk.entity.invocation.call import CallBatch
from edgewhisk.entity.invocation.message import ActivationMessage, BatchResult, TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.entity.records.record_block import RecordBlock
from edgewhisk.entity.records.stats import BufferStats
from edgewhisk.errors import StorageError

if TYPE_CHECKING:
    import asyncio


class Clock(Protocol):
    """Time and identities. The wall clock may jump; the monotonic one never does."""

    timing: ClockOffset  # how the wall clock stands to the time since the boot; replaced when it is set

    def now(self) -> int:
        """Milliseconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed point."""
        ...

    def busy(self) -> float:
        """Seconds that this thread has computed or waited by itself; not its turns at the interpreter."""
        ...

    def up(self) -> int:
        """Milliseconds since the machine booted: `now` less `timing.offset`."""
        ...

    def activation_ids(self, count: int) -> list[str]:
        """`count` new random ids of 32 lower-case hex characters."""
        ...


Check = Callable[[str, dict[str, Any]], object]  # raises one of `UNREADABLE` for a document that is none
Moment = Callable[[str, int, int], int | None]  # see `clock.history.ClockHistory.moment`


class Fire(Protocol):
    """What a feed hands everything to that one wake-up of its source brought.

    Called on the event loop. Never refuses: a feed asks `full` after each call and stops reading that source
    until `on_room` calls back, so at most one wake-up's worth is over a trigger's part of the room.
    """

    def __call__(self, events: Sequence[TriggerEvent]) -> asyncio.Future[None]:
        """Start what the rules of each event's trigger say, in order.

        The future is done when all `durable` events are on disk (only then may the source be
        acknowledged) and fails with `StorageError` when the disk refused them.
        """
        ...

    def full(self, triggers: Iterable[FullyQualifiedName]) -> bool:
        """Whether any of these triggers has its part of the queue. Cheap while there is much room."""
        ...

    def on_room(self, resume: Callable[[], None], triggers: Iterable[FullyQualifiedName]) -> None:
        """Call `resume` once, on the event loop, when all of these triggers have room again."""
        ...


@dataclass(frozen=True, slots=True)
class FeedAction:
    """One feed as it is listed in a system package: `/whisk.system/mqtt/message`."""

    package: str
    name: str
    description: str
    parameters: Mapping[str, str]  # parameter -> what it means, shown as annotation


class Resource(NamedTuple):
    """Something that must be granted to a subject other than guest before it is reached for it."""

    kind: str  # mqtt, serial, modbus, http, files: the key of `[grants.SUBJECT]`
    name: str  # topic filter, port, host, section


class Feed(Protocol):
    """A source of events: brings them to the triggers it was asked for, from `run` on.

    Survives trouble with its source by itself (back-off, reconnect, replug); tells about it in
    `describe`. All methods are called on the event loop.
    """

    actions: ClassVar[Sequence[FeedAction]]

    def check(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The normalised parameters to be stored; raises `FeedError` naming what is wrong."""
        ...

    def required_grants(self, action: str, parameters: Mapping[str, Any]) -> Sequence[Resource]:
        """What `parameters`, as `check` gave them, would have read; raises `FeedError` as `add` does."""
        ...

    async def add(self, trigger: FullyQualifiedName, action: str, parameters: Mapping[str, Any]) -> None:
        """Fire `trigger` from now on. Replaces what was asked for the same trigger before.

        `parameters` come from `check`. Must succeed while the source is away.
        """
        ...

    async def remove(self, trigger: FullyQualifiedName, *, keep: bool = False) -> None:
        """Stop firing `trigger`; does nothing when it is unknown.

        How far it is, is forgotten, unless it is to be kept for an `add` to come: a feed that is paused.
        """
        ...

    def describe(self, trigger: FullyQualifiedName) -> dict[str, Any]:
        """State and counters of one trigger's source for `READ` and `status`; `{}` when unknown."""
        ...

    async def run(self) -> None:
        """Serve until cancelled."""
        ...


class Shaping(Fire, Protocol):
    """Filters, windows and batches before a trigger fires."""

    def check(self, shape: object) -> None:
        """Raises `FeedError` naming what is wrong with a `shape` parameter."""
        ...

    def shape(self, trigger: FullyQualifiedName, shape: object) -> None:
        """Shape the events of a trigger from now on; None: no more, what is held is fired."""
        ...

    def describe(self, trigger: FullyQualifiedName) -> dict[str, Any]:
        """Counters for `READ` and `status`; `{}` without a shape."""
        ...


Committed = Callable[[StorageError | None], None]


class Query(NamedTuple):
    """Filter and page of an activation list. Newest first, whatever the clocks said."""

    namespace: str
    name: str | None = None  # as `filed_under` gives it
    since: int | None = None  # inclusive, on `start` as it is shown, ms
    upto: int | None = None
    limit: int = 30
    skip: int = 0


class SyncBatch(NamedTuple):
    """Consecutive records of one lane's log, for the cloud."""

    first: int  # sequence number of the first record
    records: tuple[bytes, ...]
    after: int | None = None  # records between this number and `first` are gone for good
    epoch: str = ""  # of the log; each has numbers of its own

    @property
    def last(self) -> int:
        """Sequence number of the last record; `first - 1` when empty."""
        return self.first + len(self.records) - 1

    def declares_gap(self, have: int) -> bool:
        """Whether a receiver that has all up to `have` may take this batch although it has no more."""
        return self.after is not None and self.after <= have


class Starts(NamedTuple):
    """How often a run of an unfinished event was begun, as far as that was journalled."""

    ever: int = 0
    here: int = 0  # in this boot


class ActivationStore(Protocol):
    """Keeps accepted events until they are recorded, and activations until the cloud has them.

    `accept` and `record` may be called from any thread and return at once; `done` is called once
    from the commit thread, with None after the fdatasync or with the error. Order of calls is order
    on disk. The other methods block on the disk: call them in a thread.
    """

    device: str  # 32 hex characters, made with the store

    @property
    def refusal(self) -> str:
        """Why the disk takes nothing new, or "". Cheap; a disk that refused is tried again."""
        ...

    def accept(self, messages: Sequence[ActivationMessage], done: Committed, *, urgent: bool) -> None:
        """Journal `messages`; each stays unfinished until `record` gets its activation id.

        Not `urgent`: the source can wait some milliseconds for its acknowledgement.
        """
        ...

    def record(
        self,
        records: Sequence[Record],
        done: Committed,
        *,
        urgent: bool,
        origins: Sequence[str] = (),
        block: RecordBlock | None = None,
    ) -> None:
        """Store finished activations. Not `urgent`: may wait for company, nobody is waiting.

        Those of `block` come last. `origins` of messages that were never accepted are kept with them.
        """
        ...

    def unfinished(self) -> list[ActivationMessage]:
        """What was accepted in an earlier life and has no record, in order of acceptance."""
        ...

    def begin(self, activation_ids: Sequence[str], done: Committed) -> None:
        """Journal that runs of unfinished events begin now; as `accept`."""
        ...

    def starts(self) -> dict[str, Starts]:
        """How often earlier lives began the `unfinished`, by activation id; without those never begun."""
        ...

    def origins(self) -> list[str]:
        """Origins of the most recently accepted messages of earlier lives, oldest first."""
        ...

    def get(self, activation_id: str) -> dict[str, Any] | None:
        """The stored record."""
        ...

    def records(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yields the records that `query` finds, newest first; each step blocks."""
        ...

    def count(self, query: Query) -> int:
        """How many records the filter of `query` finds; limit and skip are ignored."""
        ...

    def pending(self, max_records: int, max_bytes: int) -> SyncBatch:
        """The oldest records of a lane that are not confirmed; at least one if there is any.

        Of the lanes that have some the one that is worth most: errors go to the cloud first.
        """
        ...

    def confirm(self, epoch: str, upto: int) -> None:
        """The cloud has all records of this epoch up to the sequence number; durable on return."""
        ...

    def pass_over(self, epoch: str, numbers: tuple[int, ...]) -> None:
        """Leave these records of an epoch out of `pending`, and no other unconfirmed ones; durable on return.

        They are in doubt, and stay readable; one that `confirm` goes beyond counts as refused by the cloud.
        """
        ...

    def tend(self) -> None:
        """Drop what is too old and give way to others on the disk; to be called once a minute or so."""
        ...

    def absorb(self, device: str, epoch: str, batch: SyncBatch) -> int:
        """Take another gateway's batch; durable on return.

        Stores what is above the highest sequence number it has from (device, epoch) and is not here
        already by its activation id; returns the highest number it has now. A batch that leaves a
        gap is not stored (the number stays) unless it declares the gap, or is the first of its epoch.
        """
        ...

    def stats(self) -> BufferStats:
        """Counters; cheap."""
        ...


class Change(NamedTuple):
    """One entity written or (document None) deleted."""

    collection: str  # "actions"
    key: str  # "guest/pkg/name"
    document: Mapping[str, Any] | None


class ArtifactStore(Protocol):
    """Keeps packages, actions, triggers, rules and feeds. Methods block on the disk."""

    def read(self, collection: str, check: Check | None = None) -> dict[str, dict[str, Any]]:
        """All documents of a collection by key, but for those at which `check` raises: these are told."""
        ...

    def write(self, changes: Sequence[Change]) -> None:
        """Make all changes or none; durable on return. Raises `StorageError`."""
        ...


class DocumentStore(Protocol):
    """Keeps small documents that must survive. Called on the event loop."""

    def read(self, collection: str, check: Check | None = None) -> dict[str, dict[str, Any]]:
        """As `ArtifactStore.read`, from memory."""
        ...

    def write(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        """Make all changes or none; done when they are on disk, fails with `StorageError`."""
        ...


class Lookup(Protocol):
    """Finds the action a message asks for, with everything bound to it, as it is now. Thread-safe."""

    def __call__(self, where: FullyQualifiedName, binding: str, /) -> ResolvedAction | None:
        """The action at `where`, reached through `binding`; None if it was deleted meanwhile."""
        ...


class Asker(NamedTuple):
    """On whose behalf the gateway is asked for something."""

    action: Action
    namespace: str  # whose activation it is
    until: float  # monotonic seconds when the call must end


class Answer(NamedTuple):
    """What a call inside the sandbox gets."""

    text: bytes  # JSON: {"ok": value} or {"error": text}
    refusal: str = ""  # a line for the activation's log: what was not granted


LARGEST_REQUEST: Final = 2 << 20  # bytes of what an action may ask


class Capabilities(Protocol):
    """What actions may ask of the gateway, as far as their annotation grants it. Thread-safe; blocks."""

    def ask(self, asker: Asker, request: bytes) -> Answer:
        """Serve one request, a JSON object with `op`. Never raises: faults are answers."""
        ...

    def settle(self, action: Action) -> None:
        """Make durable what calls of `action` changed; raises `StorageError`."""
        ...


class Sandbox(Protocol):
    """Runs actions, each call on a pristine memory. Thread-safe; `run` blocks."""

    kinds: Mapping[str, str]  # every accepted kind or alias -> the kind it resolves to

    def ready(self, kind: str) -> bool:
        """Whether `kind` can run now; false while its engine is compiled at a first start."""
        ...

    def engine(self, kind: str) -> str:
        """What honestly runs `kind`: "quickjs-ng 0.15.1 in wasmtime 50.0.1"."""
        ...

    def check(self, code: Exec) -> None:
        """Raise `MalformedContent` if the code can never be loaded (not: if it merely throws). Blocks."""
        ...

    def run(self, action: Action, calls: CallBatch, *, inline: bool = False) -> BatchResult:
        """Run `calls` in order; one outcome each. The action's faults are outcomes, never raised.

        Every call has the action's own limits, and breaks them alone. `hasty` begins no further call once
        one ran out of time: that one's outcome is the last.
        """
        ...


class Cloud(Protocol):
    """The ingest action of a cloud OpenWhisk controller."""

    async def send(self, device: str, epoch: str, batch: SyncBatch) -> int:
        """Deliver a batch; returns the highest sequence number the cloud has of this epoch.

        An empty batch only asks. Raises `CloudError`; nothing is known about delivery then.
        """
        ...
