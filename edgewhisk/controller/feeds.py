"""Feeds: connect triggers to sources through OpenWhisk's feed actions.

A client creates a trigger and then invokes the feed action with `lifecycleEvent`, `triggerName` and
`authKey`; the feed's definition is stored beside the trigger, so that it serves again after a
restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from edgewhisk.config.schema import GrantsConfig
from edgewhisk.controller.auth.entitlement import check_granted
from edgewhisk.controller.entities import FEEDS, Entities
from edgewhisk.controller.feed_service import FeedService
from edgewhisk.entity.identity import Identity
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.errors import UNREADABLE, EdgeWhiskError, FeedError, ServiceError, shown
from edgewhisk.spi import Feed, Shaping

SHAPE: Final = "shape"  # a parameter that every feed takes
_SECRET: Final = frozenset({"password"})
_ENVELOPE: Final = frozenset({"lifecycleEvent", "triggerName", "authKey"})

MOST_SHOWN: Final = 1000  # feeds of which `status` tells
_SLICE: Final = 50  # feeds that are asked without letting the event loop do other things: 1 to 2 ms
_WELL: Final = frozenset({"running", "paused"})
FULL: Final = "it brings more than its actions keep up with, so it is held back"


class Feeds:
    """The feed actions of all sources."""

    def __init__(
        self, entities: Entities, feeds: Sequence[Feed], shaping: Shaping, grants: Mapping[str, GrantsConfig]
    ) -> None:
        """Serve `feeds`, whose definitions are kept in `entities`; `shaping` is between them and us.

        `grants` by subject: what the feeds of its triggers may reach.
        """
        self._entities = entities
        self._shaping = shaping
        self._grants = grants
        self._unserved: dict[str, str] = {}  # key of a trigger -> why its stored feed could not be restored
        self.feeds = {
            f"{action.package}/{action.name}": (feed, action) for feed in feeds for action in feed.actions
        }
        for feed in feeds:
            if isinstance(feed, FeedService):
                feed.retire = self._retire
        self._events: Mapping[str, Callable[..., Awaitable[dict[str, Any]]]] = {
            "CREATE": self._create,
            "READ": self._read,
            "UPDATE": self._update,
            "DELETE": self._delete,
            "PAUSE": self._pause,
            "UNPAUSE": self._unpause,
        }

    async def restore(self) -> list[str]:
        """Serve what is stored; returns what could not be served and why, one line each."""
        troubles = []
        for key, stored in self._entities.feeds.items():
            trigger = parse_name(key, "_")
            try:
                await self._serve(trigger, stored)
            except UNREADABLE as error:
                damaged = f"{error} (what is stored of it is damaged)"
                self._unserved[key] = error.advice if isinstance(error, EdgeWhiskError) else damaged
                troubles.append(f"feed of trigger {trigger}: {self._unserved[key]}")
        return troubles

    async def invoke(self, identity: Identity, feed: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Handle one lifecycle event of `feed` ("mqtt/message"); raises `FeedError`, `NotGranted`."""
        event = parameters.get("lifecycleEvent")
        handler = self._events.get(event) if isinstance(event, str) else None
        if handler is None:
            raise FeedError(f"lifecycleEvent must be one of {', '.join(self._events)}, not {shown(event)}")
        trigger = self._trigger(identity, parameters)
        given = {key: value for key, value in parameters.items() if key not in _ENVELOPE}
        async with self._entities.changing():
            return await handler(trigger, feed, given)

    def performer(self, feed: str) -> Callable[[Identity, Mapping[str, Any]], Awaitable[dict[str, Any]]]:
        """What the system action of `feed` does."""
        service = self._service(feed) is not None

        async def perform(identity: Identity, parameters: Mapping[str, Any]) -> dict[str, Any]:
            try:
                return await self.invoke(identity, feed, parameters)
            except FeedError as error:
                if not service or isinstance(error, ServiceError):
                    raise
                raise ServiceError(error.message, hint=error.hint) from error

        return perform

    async def stop(self, trigger: FullyQualifiedName) -> None:
        """Stop whatever feeds `trigger`."""
        for feed, _ in self.feeds.values():
            await feed.remove(trigger)
        self._shaping.shape(trigger, None)
        self._unserved.pop(trigger.key, None)

    async def _retire(self, trigger: FullyQualifiedName, rules: bool) -> None:
        """Delete a trigger that has done its work, its feed too; raises `StorageError`."""
        async with self._entities.changing():
            found = self._entities.triggers.find(trigger)
            linked = list(found.links) if found is not None and rules else []
            gone = [("triggers", trigger.key), (FEEDS, trigger.key), *(("rules", rule) for rule in linked)]
            await self._entities.write(*((kind, key, None) for kind, key in gone))
        await self.stop(trigger)

    async def survey(self) -> dict[str, Any]:
        """`feeds`, those in trouble first, and how many more there are, for `status`."""
        well: list[dict[str, Any]] = []
        ill: list[dict[str, Any]] = []
        count = 0
        for key, stored in list(self._entities.feeds.items()):
            told = self._told(key, stored)
            fine = told.get("state") in _WELL and not told.get("last_error")
            (well if fine else ill).append(told)
            count += 1
            if not count % _SLICE:
                await asyncio.sleep(0)
                del well[MOST_SHOWN:], ill[MOST_SHOWN:]
        rows = [*ill, *well][:MOST_SHOWN]
        return {"feeds": rows, "feeds_left_out": count - len(rows)}

    def _told(self, key: str, stored: Mapping[str, Any]) -> dict[str, Any]:
        trigger = parse_name(key, "_")
        return {"trigger": str(trigger), "feed": stored["feed"], **self._state(trigger, stored)}

    def _trigger(self, identity: Identity, parameters: Mapping[str, Any]) -> FullyQualifiedName:
        name = parameters.get("triggerName")
        if not isinstance(name, str) or not name:
            raise FeedError("triggerName must be the name of a trigger, for example /_/temperature")
        try:
            trigger = parse_name(name if "/" in name else f"_/{name}", identity.namespace)
        except EdgeWhiskError as error:
            raise FeedError(f"triggerName {shown(name)}: {error}") from error
        key = parameters.get("authKey")
        if trigger.namespace != identity.namespace or (key is not None and key != identity.auth.compact):
            raise FeedError(f"the caller or authKey may not use trigger {trigger}")
        return trigger

    async def _create(
        self, trigger: FullyQualifiedName, feed: str, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        if self._entities.triggers.find(trigger) is None:
            raise FeedError(f"trigger {trigger} does not exist; create it before its feed")
        before = self._entities.feeds.get(trigger.key)
        if before is not None and not self._serves(feed, before["feed"]):
            raise FeedError(f"trigger {trigger} has a feed already; send UPDATE, or DELETE first")
        stored = {"feed": feed, "parameters": self._check(feed, given)}
        return self._done(feed, given, await self._store(trigger, stored))

    async def _read(
        self, trigger: FullyQualifiedName, feed: str, _given: Mapping[str, Any]
    ) -> dict[str, Any]:
        stored = self._find(trigger, feed)
        shown, state = _shown(stored["parameters"]), self._state(trigger, stored)
        service = self._service(feed)
        return (
            service.told(trigger, stored["feed"], shown, state)
            if service
            else {"config": shown, "status": state}
        )

    async def _update(
        self, trigger: FullyQualifiedName, feed: str, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        stored = self._find(trigger, feed)
        kind = stored["feed"]
        changed = self._change(kind, stored["parameters"], given)
        found = await self._store(trigger, {**stored, "parameters": changed})
        return self._done(kind, given, found, changing=True)

    async def _delete(
        self, trigger: FullyQualifiedName, feed: str, _given: Mapping[str, Any]
    ) -> dict[str, Any]:
        self._find(trigger, feed)
        await self._entities.write((FEEDS, trigger.key, None))
        await self._of(feed).remove(trigger)
        self._shaping.shape(trigger, None)
        self._unserved.pop(trigger.key, None)
        return {"triggerName": str(trigger), "status": "success" if self._service(feed) else "deleted"}

    async def _pause(
        self, trigger: FullyQualifiedName, feed: str, _given: Mapping[str, Any]
    ) -> dict[str, Any]:
        return await self._store(trigger, {**self._find(trigger, feed), "paused": True})

    async def _unpause(
        self, trigger: FullyQualifiedName, feed: str, _given: Mapping[str, Any]
    ) -> dict[str, Any]:
        stored = dict(self._find(trigger, feed))
        stored.pop("paused", None)
        return await self._store(trigger, stored)

    async def _store(self, trigger: FullyQualifiedName, stored: dict[str, Any]) -> dict[str, Any]:
        """Serve a feed anew; what cannot be served is not stored, and the old one goes on."""
        before = self._entities.feeds.get(trigger.key)
        try:
            await self._serve(trigger, stored)
            await self._entities.write((FEEDS, trigger.key, stored))
        except EdgeWhiskError:
            await self._back(trigger, stored, before)
            raise
        self._unserved.pop(trigger.key, None)
        return {
            "triggerName": str(trigger),
            "config": _shown(stored["parameters"]),
            "status": self._state(trigger, stored),
        }

    async def _back(
        self, trigger: FullyQualifiedName, failed: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> None:
        if before is not None and trigger.key not in self._unserved:
            await self._serve(trigger, before)
        else:
            await self._of(failed["feed"]).remove(trigger)
            self._shaping.shape(trigger, None)

    async def _serve(self, trigger: FullyQualifiedName, stored: Mapping[str, Any]) -> None:
        feed = self._of(stored["feed"])
        parameters = dict(stored["parameters"])
        shape = parameters.pop(SHAPE, None)
        subject = trigger.namespace  # they have the same name
        for kind, name in feed.required_grants(stored["feed"], parameters):
            check_granted(self._grants, subject, kind, name)
        if stored.get("paused"):
            await feed.remove(trigger, keep=True)
            return
        self._shaping.shape(trigger, shape)
        await feed.add(trigger, stored["feed"], parameters)

    def _state(self, trigger: FullyQualifiedName, stored: Mapping[str, Any]) -> dict[str, Any]:
        if trigger.key in self._unserved:
            return {"state": "failed", "last_error": self._unserved[trigger.key]}
        if stored.get("paused"):
            return {"state": "paused"}
        shaped = self._shaping.describe(trigger)
        found = {**self._of(stored["feed"]).describe(trigger), **({SHAPE: shaped} if shaped else {})}
        if found.get("state") == "running" and self._shaping.full([trigger]):
            return {**found, "state": "full", "last_error": FULL}
        return found

    def _check(self, feed: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        given = dict(parameters)
        shape = given.pop(SHAPE, None)
        checked = self._of(feed).check(feed, given)
        if shape is not None:
            self._shaping.check(shape)
            checked[SHAPE] = shape
        return checked

    def _change(self, feed: str, before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """What is stored after an UPDATE; a shape is not the service's."""
        service = self._service(feed)
        if service is None:
            return self._check(feed, {**before, **given})
        own = {key: value for key, value in before.items() if key != SHAPE}
        shape = given.get(SHAPE, before.get(SHAPE))
        asked = {key: value for key, value in given.items() if key != SHAPE}
        if asked or SHAPE not in given:
            own = service.change(feed, own, asked)
        if shape is not None:
            self._shaping.check(shape)
            own[SHAPE] = shape
        return own

    def _done(
        self, feed: str, given: Mapping[str, Any], found: dict[str, Any], *, changing: bool = False
    ) -> dict[str, Any]:
        """The answer to a CREATE or an UPDATE."""
        service = self._service(feed)
        if service is None:
            return found
        asked = {key: value for key, value in given.items() if key != SHAPE}
        ignored = service.warnings(feed, asked, changing=changing)
        told = {"triggerName": found["triggerName"], "status": "success"}
        return {**told, **({"warnings": ignored} if ignored else {})}

    def _service(self, feed: str) -> FeedService | None:
        """The source of `feed` if it is a service."""
        found = self.feeds.get(feed)
        return found[0] if found is not None and isinstance(found[0], FeedService) else None

    def _serves(self, feed: str, other: str) -> bool:
        """Whether both are of the same service."""
        service = self._service(feed)
        return service is not None and service is self._service(other)

    def _find(self, trigger: FullyQualifiedName, feed: str) -> dict[str, Any]:
        stored = self._entities.feeds.get(trigger.key)
        if stored is not None and self._serves(feed, stored["feed"]):
            return stored
        if self._service(feed) is not None:
            raise ServiceError(f"could not find trigger {trigger} in the database")
        if stored is None or stored["feed"] != feed:
            raise FeedError(f"trigger {trigger} is not fed by /whisk.system/{feed}")
        return stored

    def _of(self, feed: str) -> Feed:
        found = self.feeds.get(feed)
        if found is None:
            raise FeedError(f"this gateway has no feed /whisk.system/{feed}")
        return found[0]


def _shown(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as they are told: results are logged, and shown by clients."""
    return {key: "..." if key in _SECRET else value for key, value in parameters.items()}
