"""From names to what they mean now: actions through packages and bindings, triggers to plans.

Answers are kept until any entity changes: a sensor that fires a thousand times a second asks a
thousand times for the same plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from edgewhisk.controller.auth.entitlement import check_readable
from edgewhisk.controller.entities import Entities
from edgewhisk.controller.firing import Plan, Target, plan
from edgewhisk.entity.annotations.delivery import Priority
from edgewhisk.entity.invocation.arguments import ResolvedAction, bind
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.entity.package import Package
from edgewhisk.entity.trigger import Trigger
from edgewhisk.errors import Conflict, Forbidden, NotFound

FIRE: Final = "fire"  # a fire over the API, among the sources whose firings are recorded


class _Memory(NamedTuple):
    generation: int
    bounds: dict[tuple[FullyQualifiedName, str], ResolvedAction | None]
    plans: dict[FullyQualifiedName, Plan | None]
    entitled: dict[tuple[FullyQualifiedName, str], ResolvedAction]
    parallel: dict[str, int]
    priorities: dict[str, Priority | None]  # of triggers


class Resolver:
    """Looks names up in the entities, with memory. Thread-safe for readers."""

    def __init__(self, entities: Entities, recorded: Collection[str] = (FIRE,)) -> None:
        """Answers follow `entities`; `recorded`: feeds whose firings leave a record, and `FIRE`."""
        self._entities = entities
        self._recorded = frozenset(recorded)
        self._memory = _Memory(-1, {}, {}, {}, {}, {})

    def package_of(self, name: FullyQualifiedName) -> Package | None:
        """The package that `name` is written in, or None."""
        if name.package is None:
            return None
        return self._entities.packages.find(FullyQualifiedName(name.namespace, None, name.package))

    def locate(self, name: FullyQualifiedName) -> tuple[FullyQualifiedName, str] | None:
        """Where the code of `name` is, and the binding ("ns/b") it was reached through."""
        package = self.package_of(name)
        if name.package is not None and package is None:
            return None
        where, binding = name, ""
        if package is not None and package.binding is not None:
            where = FullyQualifiedName(package.binding.namespace, package.binding.name, name.name)
            binding = package.name.key
            if not self._usable(package.name.namespace, package.binding):
                return None
        return (where, binding) if self._entities.actions.find(where) else None

    def resolved(self, name: FullyQualifiedName) -> FullyQualifiedName:
        """The name with the provider's package in place of a binding to it, whether it is there or not."""
        package = self.package_of(name)
        bound = package.binding if package else None
        return FullyQualifiedName(bound.namespace, bound.name, name.name) if bound else name

    def check_rights(self, names: Iterable[FullyQualifiedName], namespace: str) -> None:
        """Raise what a caller in `namespace` is told who may not use all of these actions.

        `NotFound` or `Conflict` for a package of its own that is missing or none, before `Forbidden`.
        """
        refused: Forbidden | None = None
        for name in names:
            try:
                self._check_right(name, namespace)
            except Forbidden as error:
                refused = refused or error
        if refused is not None:
            raise refused

    def _check_right(self, name: FullyQualifiedName, namespace: str) -> None:
        if name.package is not None:
            self.check_package(FullyQualifiedName(name.namespace, None, name.package), namespace)
        elif name.namespace != namespace:
            raise Forbidden(name.key)

    def check_package(self, name: FullyQualifiedName, namespace: str) -> None:
        """Raise `NotFound`, `Conflict` or `Forbidden` unless a caller in `namespace` may read the package."""
        if namespace != name.namespace:
            check_readable(namespace, name, self._entities.packages.find(name))
            return
        self.check_binding(self._entities.get(self._entities.packages, name))

    def bound(self, where: FullyQualifiedName, binding: str) -> ResolvedAction | None:
        """The action at `where` with everything bound to it, or None if it is gone."""
        known = self._current().bounds
        key = (where, binding)
        if key not in known:
            known[key] = self._bind(where, binding)
        return known[key]

    def entitled(self, name: FullyQualifiedName, namespace: str) -> ResolvedAction | None:
        """The action `name` for a caller in `namespace`, or None; raises `Forbidden`."""
        known = self._current().entitled
        key = (name, namespace)
        if key not in known:  # a refusal is not kept
            package = self.package_of(name)
            check_readable(namespace, name, package)
            if package is not None:
                self.check_binding(package)
            located = self.locate(name)
            bound = self.bound(*located) if located else None
            if bound is None:
                return None  # names of nothing are not kept: there are endlessly many
            known[key] = bound
        return known[key]

    def plan(self, trigger: FullyQualifiedName) -> Plan | None:
        """What firing `trigger` starts; None if there is no such trigger."""
        known = self._current().plans
        if trigger not in known:
            found = self._entities.triggers.find(trigger)
            links = found.links.values() if found else ()
            targets = {link.action: self._start(link.action, trigger.namespace) for link in links}
            known[trigger] = self._plan(found, targets) if found else None
        return known[trigger]

    def _plan(self, trigger: Trigger, targets: Mapping[FullyQualifiedName, Target]) -> Plan:
        feed = self._entities.feeds.get(trigger.name.key, {}).get("feed", "")
        usual = not self._recorded.isdisjoint((feed, feed.partition("/")[0]))
        said = trigger.recorded
        return plan(
            trigger,
            targets,
            recorded=usual if said is None else said,
            fires_recorded=FIRE in self._recorded if said is None else said,
        )

    def _start(self, name: FullyQualifiedName, namespace: str) -> Target:
        """Where the code is of an action that a rule of `namespace` starts, or why it may not.

        What is asked at each firing is what an invocation asks: a package may have been unpublished since
        the rule was made.
        """
        try:
            bound = self.entitled(name, namespace)
            self.check_rights((bound.sequence or ()) if bound else (), namespace)
        except (Forbidden, NotFound, Conflict) as error:
            return error.message
        return (bound.action.name, bound.binding) if bound else NotFound().message

    def parallel(self, trigger: str) -> int:
        """How many batches of a trigger's ("/guest/t") events may be run at once; 1 keeps their order."""
        known = self._current().parallel
        if trigger not in known:
            found = self._entities.triggers.find(parse_name(trigger, "_"))
            known[trigger] = found.concurrency if found else 1
        return known[trigger]

    def priority(self, action: FullyQualifiedName, binding: str, trigger: str) -> Priority:
        """How urgent the events are that a trigger ("/guest/t", or none) starts an action with."""
        known = self._current().priorities
        if trigger not in known:
            found = self._entities.triggers.find(parse_name(trigger, "_")) if trigger else None
            known[trigger] = found.priority if found else None
        asked = known[trigger]
        if asked is None:
            bound = self.bound(action, binding)
            asked = bound.priority if bound else None
        return Priority.NORMAL if asked is None else asked

    def check_binding(self, package: Package) -> None:
        """Raise `Forbidden` for a binding whose provider its owner may not use any more.

        `NotFound` where the provider is the owner's own and gone: to others it is not told what is there.
        """
        provider, owner = package.binding, package.name.namespace
        if provider is not None and not self._usable(owner, provider):
            raise NotFound if provider.namespace == owner else Forbidden(package.name.key)

    def _usable(self, caller: str, provider: FullyQualifiedName) -> bool:
        """A binding works as long as the provider's package is its own or published."""
        package = self._entities.packages.find(provider)
        return package is not None and (package.publish or provider.namespace == caller)

    def _bind(self, where: FullyQualifiedName, binding: str) -> ResolvedAction | None:
        action = self._entities.actions.find(where)
        if action is None:
            return None
        packages = [self.package_of(where)]
        name: FullyQualifiedName | None = None
        if binding:
            namespace, _, package = binding.partition("/")
            name = FullyQualifiedName(namespace, None, package)
            packages.append(self._entities.packages.find(name))
        bound = bind(action, tuple(package for package in packages if package), name)
        return bound._replace(once=True) if self._has_part_run_once(bound, frozenset()) else bound

    def _has_part_run_once(self, bound: ResolvedAction, above: frozenset[FullyQualifiedName]) -> bool:
        """Whether a sequence must not be begun twice because one of its parts must not."""
        if bound.once or bound.sequence is None or bound.action.name in above:
            return bound.once
        inside = above | {bound.action.name}
        parts = (self.locate(name) for name in bound.sequence)
        found = (self._entities.actions.find(part[0]) for part in parts if part)
        return any(self._has_part_run_once(bind(part, (), None), inside) for part in found if part)

    def _current(self) -> _Memory:
        """What is remembered of this generation.

        A thread that was looking while an entity changed writes into a memory that nobody reads any
        more, never into the new one.
        """
        memory = self._memory
        if memory.generation != self._entities.generation:
            memory = self._memory = _Memory(self._entities.generation, {}, {}, {}, {}, {})
        return memory
