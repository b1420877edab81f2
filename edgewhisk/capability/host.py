"""Capabilities that live on the event loop: MQTT, serial ports, other actions, triggers.

A sandbox's thread waits for them; the loop never does.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Protocol

from edgewhisk import jsontext
from edgewhisk.base.mqtt_topics import MAX_TOPIC_BYTES, closes, matches
from edgewhisk.base.room import Room, full
from edgewhisk.capability.dispatcher import CapabilityRequest, Perform, kind_of, ungranted
from edgewhisk.capability.rest import LARGEST_ANSWER, OP, RestRequest
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.errors import BadRequest, CapabilityError

# Calls that may wait for other actions at once: they hold a thread each. A namespace may have as many as are
# left for all, so that alone it gets half: an action that invokes itself is stopped at that depth.
MOST_WAITING: Final = 32


class GatewayPort(Protocol):
    """Who does it; each is called on the event loop and may raise `EdgeWhiskError`."""

    async def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        """Hand a message to the broker."""
        ...

    async def write(self, port: str, data: bytes) -> None:
        """Write to a serial port."""
        ...

    async def invoke(self, namespace: str, name: FullyQualifiedName, payload: bytes, wait: float) -> Any:
        """The result of another action."""
        ...

    async def fire(self, namespace: str, name: FullyQualifiedName, payload: bytes) -> str | None:
        """The activation id of a trigger fired."""
        ...

    async def api(self, namespace: str, asked: RestRequest) -> tuple[int, bytes]:
        """Status and body, as JSON, that the REST API answers to the owner of a namespace."""
        ...


class HostCapabilities:
    """Performs `mqtt.publish`, `serial.write`, `invoke`, `fire` and `api`."""

    def __init__(
        self,
        world: GatewayPort,
        loop: asyncio.AbstractEventLoop,
        lent: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """`loop` is where `world` lives. `lent` gives the caller's worker to others while it waits."""
        self._world = world
        self._loop = loop
        self._lent = lent
        self._lock = threading.Lock()  # guards the room
        self._room = Room()  # of calls that wait for other actions, by namespace

    @property
    def operations(self) -> Mapping[str, Perform]:
        """What `CapabilityDispatcher` offers."""
        return {
            "mqtt.publish": self._publish,
            "serial.write": self._write,
            "invoke": self._invoke,
            "fire": self._fire,
            OP: self._api,
        }

    def _publish(self, request: CapabilityRequest) -> None:
        topic, qos = request.text("topic"), request.fields.get("qos", 0)
        if not topic or set(topic) & set("+#"):
            raise CapabilityError(
                f"mqtt.publish: 'topic' must be a topic without + and #, not {topic[:80]!r}"
            )
        if closes(topic):
            raise CapabilityError(
                f"mqtt.publish: 'topic' must be without control characters, not {topic[:80]!r}"
            )
        if (size := len(topic.encode())) > MAX_TOPIC_BYTES:
            raise CapabilityError(f"mqtt.publish: 'topic' has {size} bytes; at most {MAX_TOPIC_BYTES} go")
        if not isinstance(qos, int) or isinstance(qos, bool) or qos not in (0, 1):
            raise CapabilityError(f"mqtt.publish: 'qos' must be 0 or 1, not {str(qos)[:80]}")
        if not any(matches(pattern, topic) for pattern in request.grants.mqtt):
            raise ungranted(f"mqtt.publish to {topic} is not granted", mqtt=[topic])
        request.check_owner("mqtt", topic)
        payload, retain = request.data("payload"), request.flag("retain")
        self._wait(request, lambda: self._world.publish(topic, payload, qos, retain))

    def _write(self, request: CapabilityRequest) -> None:
        port = request.text("port")
        if port not in request.grants.serial:
            raise ungranted(f"serial.write to {port} is not granted", serial=[port])
        request.check_owner("serial", port)
        data = request.data("data")
        self._wait(request, lambda: self._world.write(port, data))

    def _invoke(self, request: CapabilityRequest) -> Any:
        name = self._named(request)
        payload, namespace = _arguments(request), request.asker.namespace
        wait = request.asker.until - time.monotonic()
        with self._held(namespace), self._lent():
            return self._wait(request, lambda: self._world.invoke(namespace, name, payload, wait))

    def _fire(self, request: CapabilityRequest) -> Any:
        name = self._named(request)
        payload, namespace = _arguments(request), request.asker.namespace
        return self._wait(request, lambda: self._world.fire(namespace, name, payload))

    def _api(self, request: CapabilityRequest) -> Any:
        asked, namespace = RestRequest.of(request), request.asker.namespace
        if asked.waits:
            with self._held(namespace), self._lent():
                status, body = self._wait(request, lambda: self._world.api(namespace, asked))
        else:
            status, body = self._wait(request, lambda: self._world.api(namespace, asked))
        if len(body) > LARGEST_ANSWER:
            raise CapabilityError(f"{OP}: the answer has {len(body)} bytes; at most {LARGEST_ANSWER} go")
        return {"status": status, "body": jsontext.Fragment(body) if body else None}

    def _named(self, request: CapabilityRequest) -> FullyQualifiedName:
        text = request.text("name")
        try:
            full = text if text.startswith("/") else f"/{request.asker.namespace}/{text}"
            name = parse_name(full, request.asker.namespace)
        except BadRequest as error:
            raise CapabilityError(f"{request.op}: {error.message}") from error
        if not request.grants.allows_name(request.op, name.key, request.asker.namespace):
            raise ungranted(f"{request.op} of {text} is not granted", **{request.op: [text]})
        return name

    @contextmanager
    def _held(self, namespace: str) -> Iterator[None]:
        """One of few that wait."""
        with self._lock:
            own = self._room.of(namespace)
            if full(own, self._room.taken, MOST_WAITING):
                raise CapabilityError(
                    f"invoke: {own} calls of {namespace} wait for other actions already, "
                    f"{self._room.taken} of all: does an action invoke itself?"
                )
            self._room.add(namespace, 1)
        try:
            yield
        finally:
            with self._lock:
                self._room.add(namespace, -1)

    def _wait(self, request: CapabilityRequest, start: Callable[[], Awaitable[Any]]) -> Any:
        left = request.asker.until - time.monotonic()
        running = asyncio.run_coroutine_threadsafe(_run(start), self._loop)
        try:
            return running.result(max(0.0, left))
        except concurrent.futures.TimeoutError:
            running.cancel()
            raise CapabilityError(f"{request.op}: the action's time is over") from None


def _run(start: Callable[[], Awaitable[Any]]) -> Coroutine[Any, Any, Any]:
    async def run() -> Any:
        return await start()

    return run()


def _arguments(request: CapabilityRequest) -> bytes:
    """Returns the parameters of another action, or of a trigger: an object; none if it is missing."""
    arguments = request.fields.get("arguments")
    if arguments is None:
        return b"{}"
    if not isinstance(arguments, dict):
        raise CapabilityError(f"{request.op}: 'arguments' must be an object, not {kind_of(arguments)}")
    return request.json("arguments")
