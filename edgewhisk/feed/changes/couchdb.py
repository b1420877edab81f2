"""Changes of a CouchDB database, by the continuous `_changes` feed.

How far it is (the sequence token) is kept once the events are on disk, so that after a crash or a lost
connection nothing is missing; what was under way then may come twice. "now" becomes a token when the
database is first reached, so that nothing is missing from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final
from urllib.parse import quote, urlsplit

from edgewhisk import jsontext
from edgewhisk.base.backoff import Backoff
from edgewhisk.base.wakeable import wakeable_sleep
from edgewhisk.config.validate import is_http
from edgewhisk.entity.invocation.facts import beside
from edgewhisk.entity.invocation.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import StorageError
from edgewhisk.feed.heard import BEGINNING, Moment, heard, this_moment
from edgewhisk.feed.parameters import asked
from edgewhisk.feed.payload import LEVELS
from edgewhisk.feed.rejects import RejectCounter
from edgewhisk.spi import Change, Clock, DocumentStore, FeedAction, Fire, Resource
from edgewhisk.transport.http_body import BadBody, Body, Unpacking
from edgewhisk.transport.tls_errors import reason

_log = logging.getLogger(__name__)

COLLECTION: Final = "couchdb"
HEARTBEAT: Final = 10.0  # seconds between the empty lines of a server that has nothing to say
MAX_CHANGE_BYTES: Final = 16 << 20  # bytes of one change; CouchDB's documents have 8 MB at most
_INFO: Final = 64 << 10  # bytes of what a server tells of a database
_TOKEN: Final = 16 << 10  # characters of a sequence token: those of a database of many shards are long
_DIGITS: Final = 40  # of a sequence number: Python refuses to read thousands of them
_AHEAD: Final = 32  # chunks from the network that wait for the disk
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
    anew: int = 0  # how often it was another database of the same name
    rejects: RejectCounter = field(default_factory=RejectCounter)
    begun: Moment = BEGINNING  # when it was first followed
    last: Moment | None = None  # when it last gave an event
    task: asyncio.Task[None] | None = None


class Broken(Exception):
    """The connection ended; the text says why."""


class CouchFeed:
    """`spi.Feed` over databases."""

    actions: ClassVar[Sequence[FeedAction]] = (
        FeedAction("changes", "couchdb", "Fires the trigger with each change of a CouchDB database.", _KNOWN),
    )

    def __init__(self, fire: Fire, clock: Clock, documents: DocumentStore) -> None:
        """`documents` keeps how far each trigger is."""
        self._fire = fire
        self._clock = clock
        self._documents = documents
        self._databases: dict[FullyQualifiedName, Database] = {}
        self._tasks: asyncio.TaskGroup | None = None  # while it runs
        self._told = asyncio.Event()  # try again now

    def check(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See `spi.Feed`."""
        del action
        with asked(parameters, _KNOWN) as given:
            keys = ("url", "db", "username", "password", "filter")
            checked: dict[str, Any] = {key: text for key in keys if (text := given.text(key))}
            if not is_http(checked.get("url", "")) or urlsplit(checked["url"]).username:
                given.fault("url", "must be http(s)://HOST[:PORT]; give username and password on their own")
            if "db" not in checked:
                given.fault("db", f"must be text: {_KNOWN['db']}")
            checked["include_docs"] = given.flag("include_docs", True)
            since = given.read(
                "since",
                "now",
                lambda one: isinstance(one, str) or type(one) is int,
                "now, 0 or a sequence token",
            )
            return {**checked, "since": str(since)}

    def required_grants(self, action: str, parameters: Mapping[str, Any]) -> Sequence[Resource]:
        """See `spi.Feed`."""
        del action
        return [Resource("http", urlsplit(parameters["url"]).hostname or "")]

    async def add(self, trigger: FullyQualifiedName, action: str, parameters: Mapping[str, Any]) -> None:
        """See `spi.Feed`. Goes on where it was if the database is the same."""
        del action
        self._stop(trigger)
        kept = self._documents.read(COLLECTION, lambda _, one: (one["since"], one["of"])).get(trigger.key)
        same = kept is not None and kept["of"] == _same(parameters)
        asked = kept.get("asked", parameters["since"]) == parameters["since"] if kept is not None else False
        since = kept["since"] if kept is not None and same and asked else parameters["since"]
        begun = this_moment(self._clock)
        self._databases[trigger] = Database(trigger, parameters, since, begun=begun)
        if self._tasks is not None:
            self._start(self._tasks, self._databases[trigger])

    async def remove(self, trigger: FullyQualifiedName, *, keep: bool = False) -> None:
        """See `spi.Feed`."""
        self._stop(trigger)
        if not keep and trigger.key in self._documents.read(COLLECTION):
            await self._documents.write([Change(COLLECTION, trigger.key, None)])

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
            "bad": found.rejects.count,
            **heard(found.last, found.begun, self._clock.monotonic()),
            "connects": found.connects,
            "made_anew": found.anew,
            "last_error": found.last_error,
            **found.rejects.describe(),
        }

    def retry_now(self) -> None:
        """Try again now where a server is away."""
        self._told.set()

    async def run(self) -> None:
        """See `spi.Feed`."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for database in self._databases.values():
                    self._start(self._tasks, database)
                await asyncio.Event().wait()
        finally:
            self._tasks = None

    def _start(self, tasks: asyncio.TaskGroup, database: Database) -> None:
        database.task = tasks.create_task(self._follow(database), name=f"couchdb {database.trigger}")

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
            await wakeable_sleep(pause, self._told)

    async def _read(self, database: Database) -> None:
        """One connection, until it is lost; raises `Broken`."""
        import httpx  # heavy: a gateway without a database never loads it

        given = database.parameters
        auth = (given["username"], given.get("password", "")) if "username" in given else None
        timeout = httpx.Timeout(HEARTBEAT * 3, connect=_CONNECT)
        url = f"{given['url'].rstrip('/')}/{quote(given['db'], safe='')}"
        try:
            async with httpx.AsyncClient(
                timeout=timeout, auth=auth, trust_env=False, headers=_HEADERS
            ) as client:
                async with _asked(client, url) as answer:
                    status, info = answer.status_code, await _whole(answer)
                if status == 404 and b'"not_found"' in info:
                    await self._begin_anew(database)  # whatever will be there is new
                _check(status, info)
                await self._begin(database, info)
                async with _asked(client, f"{url}/_changes", params=_query(database)) as answer:
                    if answer.status_code != 200:
                        _check(answer.status_code, await _whole(answer))
                    database.state, database.last_error = "running", ""
                    database.connects += 1
                    await self._pump(database, self._lines(database, _unpacked(answer)))
        except TimeoutError as error:
            raise Broken("the answer did not come in time") from error
        except (httpx.HTTPError, httpx.InvalidURL, BadBody) as error:
            raise Broken(reason(error)) from error
        raise Broken("the server closed the connection")

    async def _begin(self, database: Database, info: bytes) -> None:
        """Where to begin, by what the server tells of the database."""
        try:
            newest = _token(jsontext.loads(info)["update_seq"])
        except (jsontext.NotJson, KeyError, TypeError):
            raise Broken("what answers there is no CouchDB: it tells no update_seq") from None
        if database.since == "now":
            await self._keep(database, newest)
        elif _count(newest) < _count(database.since):
            await self._begin_anew(database)

    async def _begin_anew(self, database: Database) -> None:
        """The database was deleted, or it is another one of the same name."""
        if database.since != "0":
            database.anew += database.since != "now"
            await self._keep(database, "0")

    async def _pump(self, database: Database, lines: AsyncIterator[list[bytes]]) -> None:
        """Take what comes while the last ones are written to disk together: one sync for all."""
        ahead: asyncio.Queue[list[bytes] | None] = asyncio.Queue(_AHEAD)

        async def read() -> None:
            try:
                async for some in lines:
                    await ahead.put(some)
            finally:
                await ahead.put(None)

        reader = asyncio.create_task(read())
        try:
            ended = False
            while not ended:
                taken = [await ahead.get()]
                while not ahead.empty():
                    taken.append(ahead.get_nowait())
                ended = None in taken
                await self._take(database, [line for some in taken for line in some or ()])
            await reader
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _lines(self, database: Database, chunks: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
        """The whole lines of each chunk from the network; too long ones are refused."""
        rest, skipping = b"", False
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            if skipping and lines:
                del lines[0]  # the end of the one that was too long
                skipping = False
            if len(rest) > MAX_CHANGE_BYTES:
                self._refuse(database, f"a change of more than {MAX_CHANGE_BYTES} bytes", rest)
                rest, skipping = b"", True
            elif skipping:
                rest = b""
            yield [line for line in lines if line.strip()]

    async def _take(self, database: Database, lines: Sequence[bytes]) -> None:
        """Fire what came at once, then keep how far it is."""
        events, since = [], ""
        now = self._clock.now()
        for line in lines:
            try:
                change, _, mended = jsontext.parse_odd(line, LEVELS)
                since = _token(change["seq"] if "seq" in change else change["last_seq"])
            except (jsontext.NotJson, KeyError, TypeError):
                self._refuse(database, "not a change", line)
                continue
            database.rejects.mend(mended)
            if "seq" in change:
                event = beside({"database": database.parameters["db"]}, change)
                events.append(TriggerEvent(database.trigger, jsontext.dumps(event), now, durable=True))
        if events:
            await self._fire(events)
            database.delivered += len(events)
            database.last = Moment(now, self._clock.monotonic())
        if since:
            await self._keep(database, since)
        if self._fire.full([database.trigger]):
            room = asyncio.Event()
            self._fire.on_room(room.set, [database.trigger])
            await room.wait()

    async def _keep(self, database: Database, since: str) -> None:
        asked = database.parameters["since"]
        document = {"since": since, "of": _same(database.parameters), "asked": asked}
        await self._documents.write([Change(COLLECTION, database.trigger.key, document)])
        database.since = since

    def _refuse(self, database: Database, reason: str, line: bytes) -> None:
        told = database.rejects.add(reason, line, self._clock.monotonic())
        if told is not None:
            _log.warning("CouchDB %s: %s", database.parameters["db"], told)


def _query(database: Database) -> dict[str, str]:
    given = database.parameters
    return {
        "feed": "continuous",
        "heartbeat": str(int(HEARTBEAT * 1000)),
        "since": database.since,
        "include_docs": "true" if given["include_docs"] else "false",
        **({"filter": given["filter"]} if "filter" in given else {}),
    }


@contextlib.asynccontextmanager
async def _asked(client: Any, url: str, **given: Any) -> AsyncIterator[Any]:
    """An answer whose body is to come; raises `TimeoutError` if its head is slow."""
    async with contextlib.AsyncExitStack() as stack:
        async with asyncio.timeout(HEARTBEAT * 3):
            answer = await stack.enter_async_context(client.stream("GET", url, **given))
        yield answer


async def _unpacked(answer: Any) -> AsyncIterator[bytes]:
    """A body of any size, little at a time; raises `BadBody`."""
    unpacking = Unpacking(answer.headers.get("Content-Encoding", ""))
    async for raw in answer.aiter_raw():
        for piece in unpacking.pieces(raw):
            yield piece


async def _whole(answer: Any) -> bytes:
    """A body that must be small; raises `BadBody` and `TimeoutError`."""
    body = Body(answer.headers.get("Content-Encoding", ""), _INFO)
    async with asyncio.timeout(HEARTBEAT):
        async for piece in answer.aiter_raw():
            body.add(piece)
    return body.data


def _check(status: int, text: bytes) -> None:
    if status != 200:
        hint = "; see username and password" if status in (401, 403) else ""
        raise Broken(f"the server answers {status}: {text[:200].decode(errors='replace').strip()}{hint}")


def _token(since: Any) -> str:
    """A sequence token as text; raises `TypeError` for none."""
    if since is None:
        raise TypeError
    found = since if isinstance(since, str) else jsontext.dumps(since).decode()
    if len(found) > _TOKEN:
        raise TypeError
    return found


def _count(since: str) -> int:
    """The number that a token begins with, as `12-g1AAAA...` and 12 do; 0 if there is none."""
    number = since.partition("-")[0]
    return int(number) if number.isdecimal() and len(number) <= _DIGITS else 0


def _same(parameters: Mapping[str, Any]) -> list[str]:
    """What makes a sequence token worthless when it changes."""
    return [parameters["url"], parameters["db"], parameters.get("filter", "")]
