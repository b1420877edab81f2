"""The embedded broker: who is there, what it keeps; and messages of any broker, there and back.

edgewhisk broker show
edgewhisk broker kick tasmota_1A2B3C
edgewhisk broker retained 'home/#'
edgewhisk broker subscribe 'tele/#'
edgewhisk broker publish cmnd/plug/POWER on --retain
"""

from __future__ import annotations

import argparse
import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from edgewhisk.cli import OK
from edgewhisk.cli.client import ApiClient
from edgewhisk.cli.entity import entity
from edgewhisk.cli.entity.entity import EntityCommands, named, tabled, told
from edgewhisk.cli.output import done

if TYPE_CHECKING:
    from edgewhisk.transport.mqtt.codec import Delivery

_ROOT = "/edgewhisk/broker"


def options(parser: argparse.ArgumentParser) -> None:
    """All verbs."""
    noun = EntityCommands(parser)
    noun.verb("show", _show, "list the clients of the embedded broker")
    kick = noun.verb("kick", _kick, "end the connection of a client; it may come back")
    kick.add_argument("client")
    retained = noun.verb("retained", _retained, "list retained messages, 1,000 at most")
    retained.add_argument("filter", nargs="?", default="#")
    publish = noun.verb("publish", _nothing, "publish a message at QoS 1")
    publish.add_argument("topic")
    publish.add_argument("payload", nargs="?", default="")
    publish.add_argument("--retain", action="store_true", help="the broker keeps it for those who come later")
    subscribe = noun.verb("subscribe", _nothing, "print messages as they come, until Ctrl-C")
    subscribe.add_argument("filter")
    subscribe.add_argument("--count", type=int, default=0, metavar="N", help="end after N messages")
    for own, speak in ((publish, _publish), (subscribe, _subscribe)):
        own.add_argument("--broker", help="mqtt://HOST, or NAME of [brokers.NAME]; default: that of [mqtt]")
        own.set_defaults(speak=speak)


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Run the verb that was given, over the API or over MQTT."""
    if not hasattr(given, "speak"):
        return entity.perform(given, environment)
    try:
        return int(asyncio.run(given.speak(given, environment)))
    except KeyboardInterrupt:
        return OK


def _show(given: argparse.Namespace, api: ApiClient) -> int:
    return tabled(given, "clients", api.get(f"{_ROOT}/clients"), _clients)


def _clients(found: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            one["client"],
            f"MQTT {one['version']} from {one['address'] or 'the gateway'}" if one["connected"] else "away",
            f"{one['filters']} filters",
            f"{one['queued']} wait",
            f"{one['dropped']} dropped",
        ]
        for one in found
    ]


def _kick(given: argparse.Namespace, api: ApiClient) -> int:
    with named(f"kick {given.client}"):
        found = api.delete(f"{_ROOT}/clients/{quote(given.client, safe='')}")
    return told(given, found, f"kicked {given.client}")


def _retained(given: argparse.Namespace, api: ApiClient) -> int:
    found = api.get(f"{_ROOT}/retained/{quote(given.filter, safe='')}")
    return tabled(given, "retained messages", found, lambda rows: [
        [one["topic"], repr(base64.b64decode(one["payload"])[:60])[1:]] for one in rows
    ])  # fmt: skip


def _nothing(_given: argparse.Namespace, _api: ApiClient) -> int:
    return OK


async def _publish(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from edgewhisk.transport.mqtt.codec import Message

    connection = await _connected(given, environment, lambda _deliveries: None)
    try:
        failed = await connection.publish([Message(given.topic, given.payload.encode(), 1, given.retain)])
        for error in failed.values():
            raise _refused(error)
    finally:
        await connection.close()
    done(f"published {given.topic}", quiet=given.json)
    return OK


async def _subscribe(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from edgewhisk import jsontext

    seen, enough = 0, asyncio.Event()

    def take(deliveries: Sequence[Delivery]) -> None:
        nonlocal seen
        for one in deliveries:
            topic, payload = one.topic.decode(errors="replace"), one.payload.decode(errors="replace")
            line = jsontext.dumps({"topic": topic, "payload": payload}).decode() if given.json else None
            print(line or f"{topic} {payload}", flush=True)
            seen += 1
            if seen == given.count:
                enough.set()
                return

    connection = await _connected(given, environment, take)
    connection.subscribe(given.filter, 0)
    tasks = [asyncio.create_task(connection.lost()), asyncio.create_task(enough.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not enough.is_set():
            raise _refused(tasks[0].exception() or ConnectionResetError("the connection was lost"))
    finally:
        for task in tasks:
            task.cancel()
        await connection.close()
    return OK


async def _connected(
    given: argparse.Namespace, environment: Mapping[str, str], take: Callable[[Sequence[Delivery]], None]
) -> Any:
    """A connection to the broker that is meant; raises `EdgeWhiskError`."""
    from edgewhisk.base.mqtt_topics import check_filter
    from edgewhisk.cli.device.device_try import broker
    from edgewhisk.cli.device.recording import opened
    from edgewhisk.config.loader import load

    if "filter" in given:
        check_filter(given.filter)
    link = broker(given.broker, load(given.config, environment))
    return await opened(link, lambda _connection, deliveries: take(deliveries))


def _refused(error: BaseException) -> Exception:
    from edgewhisk.errors import FeedError

    return FeedError(f"the broker: {error}")
