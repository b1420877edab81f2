"""Changes of a CouchDB database, by the continuous `_changes` feed.

How far it is (the sequence token) is kept once the events are on disk, so that after a crash or a lost
connection nothing is missing; what was under way then may come twice.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final
from urllib.parse import quote, urlsplit

import orjson

from edgewhisk.entity.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import FeedError, StorageError
from edgewhisk.feed.backoff import Backoff
from edgewhisk.feed.garbage import Garbage
from edgewhisk.rest import rest
from edgewhisk.spi import Change, Clock, FeedAction, Fire, Shelf
from edgewhisk.trust import reason

_log = logging.getLogger(__name__)

COLLECTION: Final = "couchdb"
HEARTBEAT: Final = 10.0  # seconds between the empty lines of a server that has nothing to say
_CONNECT: Final = 10.0  # seconds
_HEADERS: Final = {"Accept-Encoding": "identity"}  # servers hold lines back to compress them
_KNOWN: Final = {
    "url": "http(s)://HOST[:PORT]",
    "db": "name of the database",
    "username": "for the server",
    "password": "for the server; never shown",
    "include_docs": "whether events carry the document (default true)",
    "since": "now (default) or 0: from the beginning",
    "filter": "DESIGN/FILTER of the server",
}


@dataclass(slots=True)
class Database:
    """One database that feeds a trigger."""

    trigger: FullyQualifiedName
    parameters: Mapping[str, Any]
    since: str
    state: str = "connecting"
    last_error: str = ""
    delivered: int = 0
    connects: int = 0
    garbage: Garbage = field(default_factory=Garbage)
    task: asyncio.Task[None] | None = None


class Broken(Exception):
    """The connection ended; the text says why."""


class CouchFeed:
    """`spi.Feed` over databases."""

    actions: ClassVar[Sequence[FeedAction]] = (
        FeedAction("changes", "couchdb", "Fires the trigger with each change of a CouchDB database.", _KNOWN),
    )

    def __init__(self, fire: Fire, clock: Clock, shelf: Shelf) -> None:
        """`shelf` keeps how far each trigger is."""
        self._fire = fire
        self._clock = clock
        self._shelf = shelf
        self._databases: dict[FullyQualifiedName, Database] = {}
        self._running = False
        self._told = asyncio.Event()  # try again now

    def check(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See `spi.Feed`."""
        del action
        if unknown := sorted(set(parameters) - set(_KNOWN)):
            raise FeedError(f"unknown parameter {unknown[0]!r}; known are {', '.join(_KNOWN)}")
        checked: dict[str, Any] = {}
        for key in ("url", "db", "username", "password", "filter"):
            value = parameters.get(key, "")
            if not isinstance(value, str) or (key in ("url", "db") and not value):
                raise FeedError(f"{key} must be text: {_KNOWN[key]}")
            if value:
                checked[key] = value
        parts = urlsplit(checked["url"])
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise FeedError("url must be http(s)://HOST[:PORT]; give username and password on their own")
        if not isinstance(parameters.get("include_docs", True), bool):
            raise FeedError("include_docs must be true or false")
        since = parameters.get("since", "now")
        if not isinstance(since, str | int) or isinstance(since, bool):
            raise FeedError("since must be now, 0 or a sequence token")
        return {**checked, "include_docs": parameters.get("include_docs", True), "since": str(since)}

    async def add(self, trigger: FullyQualifiedName, action: str, parameters: Mapping[str, Any]) -> None:
        """See `spi.Feed`. Goes on where it was if the database is the same."""
        del action
        self._stop(trigger)
        kept = self._shelf.read(COLLECTION).get(trigger.key)
        same = kept is not None and kept["of"] == _same(parameters)
        since = kept["since"] if kept is not None and same else parameters["since"]
        self._databases[trigger] = Database(trigger, parameters, since)
        if self._running:
            self._start(self._databases[trigger])

    async def remove(self, trigger: FullyQualifiedName) -> None:
        """See `spi.Feed`."""
        self._stop(trigger)
        if trigger.key in self._shelf.read(COLLECTION):
            await self._shelf.write([Change(COLLECTION, trigger.key, None)])

    def describe(self, trigger: FullyQualifiedName) -> dict[str, Any]:
        """See `spi.Feed`."""
        found = self._databases.get(trigger)
        if found is None:
            return {}
        return {
            "state": found.state,
            "database": f"{found.parameters['url']}/{found.parameters['db']}",
            "since": found.since,
            "delivered": found.delivered,
            "connects": found.connects,
            "last_error": found.last_error,
            **found.garbage.describe(),
        }

    def hurry(self) -> None:
        """Try again now where a server is away."""
        self._told.set()

    async def run(self) -> None:
        """See `spi.Feed`."""
        self._running = True
        try:
            for database in self._databases.values():
                self._start(database)
            await asyncio.Event().wait()
        finally:
            self._running = False
            for trigger in list(self._databases):
                task = self._databases[trigger].task
                if task is not None:
                    task.cancel()

    def _start(self, database: Database) -> None:
        database.task = asyncio.create_task(self._follow(database), name=f"couchdb {database.trigger}")

    def _stop(self, trigger: FullyQualifiedName) -> None:
        gone = self._databases.pop(trigger, None)
        if gone is not None and gone.task is not None:
            gone.task.cancel()

    async def _follow(self, database: Database) -> None:
        backoff = Backoff()
        while True:
            delivered = database.delivered
            try:
                await self._read(database)
            except (Broken, StorageError) as error:
                database.last_error = str(error)
            database.state = "waiting"
            if database.delivered > delivered:
                backoff.reset()
            pause = backoff.pause(random.random())  # noqa: S311 - jitter
            _log.warning(
                "CouchDB %s: %s; again in %.0f s", database.parameters["db"], database.last_error, pause
            )
            await rest(pause, self._told)

    async def _read(self, database: Database) -> None:
        """One connection, until it is lost; raises `Broken`."""
        import httpx  # heavy: a gateway without a database never loads it

        given = database.parameters
        query = {
            "feed": "continuous",
            "heartbeat": str(int(HEARTBEAT * 1000)),
            "since": database.since,
            "include_docs": "true" if given["include_docs"] else "false",
            **({"filter": given["filter"]} if "filter" in given else {}),
        }
        auth = (given["username"], given.get("password", "")) if "username" in given else None
        timeout = httpx.Timeout(HEARTBEAT * 3, connect=_CONNECT)
        url = f"{given['url'].rstrip('/')}/{quote(given['db'], safe='')}/_changes"
        try:
            async with (
                httpx.AsyncClient(timeout=timeout, auth=auth, trust_env=False, headers=_HEADERS) as client,
                client.stream("GET", url, params=query) as answer,
            ):
                if answer.status_code != 200:
                    text = (await answer.aread()).decode(errors="replace")[:200].strip()
                    raise Broken(f"the server answers {answer.status_code}: {text}")
                database.state, database.last_error = "running", ""
                database.connects += 1
                async for line in answer.aiter_lines():
                    if line.strip():
                        await self._take(database, line.encode())
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Broken(reason(error)) from error
        raise Broken("the server closed the connection")

    async def _take(self, database: Database, line: bytes) -> None:
        try:
            change = orjson.loads(line)
            since = change["seq"] if "seq" in change else change["last_seq"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            told = database.garbage.add("not a change", line, self._clock.monotonic())
            if told is not None:
                _log.warning("CouchDB %s: %s", database.parameters["db"], told)
            return
        if "seq" in change:
            event = {"database": database.parameters["db"], **change}
            await self._fire(
                [TriggerEvent(database.trigger, orjson.dumps(event), self._clock.now(), durable=True)]
            )
            database.delivered += 1
        database.since = since if isinstance(since, str) else orjson.dumps(since).decode()
        document = {"since": database.since, "of": _same(database.parameters)}
        await self._shelf.write([Change(COLLECTION, database.trigger.key, document)])
        if self._fire.full():
            room = asyncio.Event()
            self._fire.on_room(room.set)
            await room.wait()


def _same(parameters: Mapping[str, Any]) -> list[str]:
    """What makes a sequence token worthless when it changes."""
    return [parameters["url"], parameters["db"], parameters.get("filter", "")]
