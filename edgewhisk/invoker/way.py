"""The ways that flights take: what those of one lane have in common, and their records in one sheaf."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from edgewhisk.entity.activation import RecordTemplate
from edgewhisk.entity.arguments import Bound
from edgewhisk.entity.message import ActivationMessage, Ran, Smooth
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.entity.sheaf import Column, Sheaf, SheafTemplate
from edgewhisk.entity.timing import Timing
from edgewhisk.invoker.flight import Flight, Leg, inside_messages
from edgewhisk.recent import Recent

_ACTIONS: Final = (10_000, 32 << 20)  # whose ways are remembered, bytes of all
_WAYS: Final = 1000  # of an action: it may have a trigger for each sensor


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """The same until an entity changes."""

    bound: Bound
    sheaves: SheafTemplate
    bounds: Sequence[Bound]  # of the parts, and of the whole if there is one
    names: Sequence[str]  # what their runs are counted under

    def sheaf(self, flights: Sequence[Flight], timing: Timing) -> Sheaf | None:
        """The records of smooth flights; None if they have to be written one by one."""
        legs = range(len(flights[0].flown))
        columns = [_column([flight.flown[at] for flight in flights]) for at in legs]
        if flights[0].composed:
            ids = [message.activation_id for flight in flights for message in flight.messages]
            columns.append(Column(ids, [(one.begun, one.ended) for one in flights]))
        accepted = [message.at for flight in flights for message in flight.messages]
        return self.sheaves.sheaf(columns, [len(one.messages) for one in flights], accepted, timing)


@dataclass(slots=True)
class _Known:
    """The ways of an action; its code is counted once for all of them."""

    weight: int  # bytes
    by: dict[tuple[object, ...], Way] = field(default_factory=dict)


class Ways:
    """Those that were taken last."""

    def __init__(self, template: Callable[[Bound, ActivationMessage, int], RecordTemplate]) -> None:
        """`template` writes the records of an action for a message; with the memory (MB) of a composition."""
        self._template = template
        self._known = Recent[FullyQualifiedName, _Known](*_ACTIONS)

    def of(self, flight: Flight) -> Way:
        """The way that a flight took; it has ended."""
        message, name = flight.messages[0], flight.bound.action.name
        key = (message.binding, message.namespace, message.subject, message.trigger)
        known = self._known.get(name)
        way = known.by.get(key) if known else None
        if way is not None and way.bound is flight.bound:
            return way
        made = self._make(flight)
        if known is None or way is not None or len(known.by) >= _WAYS:  # none, or an entity changed
            known = _Known(sum(one.action.weight for one in made.bounds))
        known.by[key] = made
        known.weight += sum(len(one.text) for one in made.bounds)
        self._known.keep(name, known, known.weight)
        return made

    def _make(self, flight: Flight) -> Way:
        bounds = [leg.bound for leg, _ in flight.flown]
        starts = [0] * len(flight.messages)
        templates = [
            self._template(leg.bound, inside_messages(flight, leg, starts)[0], 0) for leg, _ in flight.flown
        ]
        if composed := flight.composed:
            memory = max(bound.action.limits.memory for bound in bounds)
            templates.append(self._template(flight.bound, flight.messages[0], memory))
            bounds.append(flight.bound)
        names = [bound.action.name.key for bound in bounds]
        return Way(flight.bound, SheafTemplate(templates, composed=composed), bounds, names)


def _column(flown: Sequence[tuple[Leg, Ran]]) -> Column:
    """One leg of smooth flights."""
    ids: list[str] = []
    results: list[bytes] = []
    spans: list[tuple[int, int]] = []
    for leg, ran in flown:
        if isinstance(ran, Smooth):
            ids += leg.ids
            results += ran.results
            spans.append((ran.start, ran.end))
    return Column(ids, spans, results)
