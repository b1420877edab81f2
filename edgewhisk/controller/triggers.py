"""Triggers: create, read, update, delete, list."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from edgewhisk.controller.auth.entitlement import check_owner
from edgewhisk.controller.entities import FEEDS, Entities
from edgewhisk.entity.identity import Identity
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.entity.parameters import check_size
from edgewhisk.entity.trigger import Trigger, TriggerPut
from edgewhisk.errors import Conflict
from edgewhisk.spi import Clock

Unfeed = Callable[[FullyQualifiedName], Awaitable[None]]


class Triggers:
    """The collection `triggers`."""

    def __init__(self, entities: Entities, limits: Limits, clock: Clock, unfeed: Unfeed) -> None:
        """`unfeed` stops the feed of a trigger that is deleted."""
        self._entities = entities
        self._limits = limits
        self._clock = clock
        self._unfeed = unfeed

    def list(self, identity: Identity, namespace: str) -> list[Trigger]:
        """Items of a namespace."""
        check_owner(identity, namespace, namespace)
        return self._entities.triggers.within(namespace)

    def get(self, identity: Identity, name: FullyQualifiedName) -> dict[str, Any]:
        """The document."""
        check_owner(identity, name.namespace, name.key)
        return self._entities.get(self._entities.triggers, name).to_json()

    def check_rights(self, identity: Identity, name: FullyQualifiedName) -> None:
        """Raise `Forbidden` for triggers of others."""
        check_owner(identity, name.namespace, name.key)

    async def put(
        self, identity: Identity, name: FullyQualifiedName, body: Any, *, overwrite: bool
    ) -> dict[str, Any]:
        """Create or update; returns the document."""
        check_owner(identity, name.namespace, name.key)
        wanted = TriggerPut.from_json(body)
        check_size("parameters", wanted.parameters, self._limits)
        check_size("annotations", wanted.annotations, self._limits)
        async with self._entities.changing():
            self._entities.claim(self._entities.triggers, name)
            old = self._entities.triggers.find(name)
            if old is not None and not overwrite:
                raise Conflict("resource already exists")
            now = self._clock.now()
            trigger = wanted.update(old, now) if old else wanted.create(name, now)
            _ = trigger.concurrency, trigger.priority, trigger.recorded  # raise if the annotations are wrong
            await self._entities.write(("triggers", name.key, trigger))
        return trigger.to_json()

    async def delete(self, identity: Identity, name: FullyQualifiedName) -> dict[str, Any]:
        """Delete, its feed too; its rules stay and read as inactive."""
        check_owner(identity, name.namespace, name.key)
        async with self._entities.changing():
            trigger = self._entities.get(self._entities.triggers, name)
            await self._entities.write(("triggers", name.key, None), (FEEDS, name.key, None))
        await self._unfeed(name)
        return trigger.to_json()
