"""All entities in memory, written through to the artifact store.

Readers need no lock: a change replaces whole frozen values. Writers hold `changing()`, look, decide
and `write`; what they decided on cannot change under them. `generation` rises with every change, so
that plans derived from entities know when they are stale.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, Generic, TypeVar

from edgewhisk.base.threads import apart
from edgewhisk.entity.action import Action
from edgewhisk.entity.api.api import Api
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.entity.package import Package
from edgewhisk.entity.rule import Rule
from edgewhisk.entity.trigger import Trigger
from edgewhisk.errors import Conflict, NotFound
from edgewhisk.spi import ArtifactStore, Change

AnyEntity = Package | Action | Trigger | Rule | Api
Entity = TypeVar("Entity", bound=AnyEntity)

FEEDS: Final = "feeds"
_NEWEST: Final = itemgetter(0, 1)


class Collection(Generic[Entity]):
    """The entities of one kind by their key `ns/[pkg/]name`."""

    def __init__(self, name: str, read: Callable[[Mapping[str, Any]], Entity]) -> None:
        """`read` makes an entity of its stored document."""
        self.name = name
        self.read = read
        self.by_key: dict[str, Entity] = {}

    def take(self, key: str, document: Mapping[str, Any]) -> None:
        """Hold what a stored document says; raises one of `UNREADABLE`."""
        self.by_key[key] = self.read(document)

    def find(self, name: FullyQualifiedName) -> Entity | None:
        """The entity, or None."""
        return self.by_key.get(name.key)

    def within(self, path: str) -> list[Entity]:
        """Entities whose namespace is `path` ("ns", packaged ones included, or "ns/pkg").

        Newest first, as OpenWhisk lists them.
        """
        inside = path + "/"
        found = [
            (entity.updated, key, entity) for key, entity in self.by_key.items() if key.startswith(inside)
        ]
        found.sort(key=_NEWEST, reverse=True)
        return [entity for _, _, entity in found]


class Entities:
    """Packages, actions, triggers, rules and APIs of all namespaces."""

    def __init__(self, store: ArtifactStore) -> None:
        """Empty until `load`."""
        self._store = store
        self._lock = asyncio.Lock()
        self.generation = 0
        self.packages = Collection("packages", Package.from_document)
        self.actions = Collection("actions", Action.from_document)
        self.triggers = Collection("triggers", Trigger.from_document)
        self.rules = Collection("rules", Rule.from_document)
        self.apis = Collection("apis", Api.from_document)  # their paths are no names of entities
        self.feeds: dict[str, dict[str, Any]] = {}  # trigger key -> {"feed", "parameters"}

    def load(self) -> None:
        """Read everything from the store (blocking)."""
        for collection in (*self._collections(), self.apis):
            self._store.read(collection.name, collection.take)
        self.feeds = self._store.read(FEEDS, _check_feed)
        self.generation += 1

    def provide(self, entities: Sequence[Package | Action]) -> None:
        """Add entities that the gateway itself offers; they are not stored."""
        for entity in entities:
            collection = self.packages if isinstance(entity, Package) else self.actions
            collection.by_key[entity.name.key] = entity  # type: ignore[assignment]
        self.generation += 1

    def changing(self) -> asyncio.Lock:
        """The lock to hold from looking until `write`."""
        return self._lock

    async def write(self, *changes: tuple[str, str, AnyEntity | Mapping[str, Any] | None]) -> None:
        """Make all changes (collection, key, new value) durable, then visible; all or none."""
        documents = [
            Change(name, key, value.to_json() if isinstance(value, AnyEntity) else value)
            for name, key, value in changes
        ]
        await apart("entities", self._store.write, documents)
        for name, key, value in changes:
            held: dict[str, Any] = self.feeds if name == FEEDS else getattr(self, name).by_key
            if value is None:
                held.pop(key, None)
            else:
                held[key] = value
        self.generation += 1

    def get(self, collection: Collection[Entity], name: FullyQualifiedName) -> Entity:
        """The entity; raises `NotFound`, or `Conflict` if the name is of another kind."""
        entity = collection.find(name)
        if entity is None:
            self.claim(collection, name)
            raise NotFound
        return entity

    def claim(self, collection: Collection[Entity], name: FullyQualifiedName) -> None:
        """Raise `Conflict` if `name` is taken in another collection: they share one key space."""
        for other in self._collections():
            if other.name != collection.name and name.key in other.by_key:
                raise Conflict("Resource by this name exists but is not in this collection.")

    def stored(self) -> Iterator[tuple[str, list[str]]]:
        """The keys of what is stored, by collection; feeds first."""
        yield FEEDS, list(self.feeds)
        for collection in (*self._collections(), self.apis):
            yield collection.name, list(collection.by_key)

    def _collections(self) -> Iterator[Collection[Any]]:
        yield from (self.packages, self.actions, self.triggers, self.rules)


def _check_feed(key: str, document: Mapping[str, Any]) -> None:
    parse_name(key, "_")
    if not isinstance(document["feed"], str) or not isinstance(document["parameters"], dict):
        raise TypeError("feed or parameters")
