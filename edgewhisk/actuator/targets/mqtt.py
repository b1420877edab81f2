"""MQTT brokers: messages to topics, in one write for many."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, ClassVar, Final

from edgewhisk import jsontext
from edgewhisk.actuator.request import COMMON, DAY, LARGEST, Command, expires, payload
from edgewhisk.actuator.target import DELIVERED, Failed, Found, Target, of_error
from edgewhisk.base.mqtt_topics import MAX_TOPIC_BYTES, closes
from edgewhisk.errors import BadRequest, CapabilityError
from edgewhisk.transport.mqtt.brokers import MqttBrokers
from edgewhisk.transport.mqtt.codec import Message, Publication

_LONG: Final = 4096  # bytes of parameters that are not remembered: they may have a megabyte
_OPTIONS: Final[Mapping[str, Any]] = {
    "topic": None, "qos": 1, "broker": "", "retain": False, "expiry": 0, "expires": DAY
}  # fmt: skip
_OPTION: Final = re.compile(b'"(?:%b|payload|payload64)"' % "|".join(_OPTIONS).encode())
_ESCAPED: Final = rb"\u00"  # a letter of a key may be written so
_BACKSLASH: Final = 0x5C
_BRACE: Final = 0x7B


class MqttTarget(Target):
    """The action `mqtt/publish`."""

    kind: ClassVar = "mqtt"
    action: ClassVar = "publish"
    description: ClassVar = "Publishes a message; without payload, the other parameters as JSON."
    parameters: ClassVar = {
        "topic": "where to",
        "payload": "text, or anything as JSON",
        "payload64": "bytes as base64 instead",
        "qos": "0 or 1 (default 1)",
        "retain": "keep it at the broker (default false)",
        "expiry": "seconds after which the broker forgets it (MQTT 5)",
        "broker": "name of a [brokers.NAME] section (default: [mqtt])",
        **COMMON,
    }

    def __init__(self, brokers: MqttBrokers) -> None:
        """Over the connections to `brokers`."""
        self._brokers = brokers

    @classmethod
    def command(cls, given: Mapping[str, Any]) -> Command:
        """See `Target`."""
        wanted = [given.get(key, usual) for key, usual in _OPTIONS.items()]
        try:
            is_short = len(wanted[0]) + len(wanted[2]) <= _LONG  # topic and broker
            where = (_publication if is_short else _publication.__wrapped__)(*wanted)
        except TypeError:  # a list or an object, which nothing can be kept under, or a number
            where = _publication.__wrapped__(*wanted)
        data = payload(given, _OPTIONS)
        return Command(where.kind, where.target, where.name, where.body, where.expires, data=data)

    @classmethod
    def alike(cls, bound: bytes, payloads: Sequence[bytes]) -> Command | None:
        """See `Target`. A fifth of a microsecond for each payload, where to read and write it takes three."""
        known = _bound_publication if len(bound) <= _LONG else _bound_publication.__wrapped__
        where, text = known(bound), b"\n".join(payloads)
        if where is None or len(text) + len(where.name) > LARGEST or _OPTION.search(text):
            return None
        if _BACKSLASH in text and _ESCAPED in text:
            return None
        return where if set(map(itemgetter(0), payloads)) == {_BRACE} else None

    @classmethod
    def told(cls, command: Command) -> str:
        """See `Target`."""
        return f"publish to {command.name}"

    @classmethod
    def size(cls, command: Command) -> int:
        """See `Target`. Without the options, which are few and short."""
        return len(command.data) + len(command.name)

    def check(self, command: Command) -> None:
        """See `Target`."""
        self._brokers.session(command.body["broker"])

    async def deliver(self, commands: Sequence[Command]) -> list[Found]:
        """See `Target`. In one write for each run of commands to the same broker."""
        found: list[Found] = []
        for broker, run in groupby(commands, key=lambda command: command.body["broker"]):
            found += await self._publish(broker, [_message(command) for command in run])
        return found

    def deliver_alike(self, like: Command, payloads: Sequence[bytes], told: Callable[[Failed], None]) -> bool:
        """See `Target`."""
        body = like.body
        what = Publication(body["topic"], body["qos"], body["retain"], body["expiry"])
        return self._brokers.publish_alike(body["broker"], what, payloads, told)

    async def _publish(self, broker: str, messages: Sequence[Message]) -> list[Found]:
        try:
            failed = await self._brokers.publish(broker, messages)
        except CapabilityError as error:
            return [error] * len(messages)
        if not failed:
            return [DELIVERED] * len(messages)
        return [of_error(failed[at]) if at in failed else DELIVERED for at in range(len(messages))]


def _message(command: Command) -> Message:
    body = command.body
    return Message(body["topic"], command.data, body["qos"], body["retain"], body["expiry"])


@lru_cache(maxsize=1024, typed=True)
def _publication(topic: Any, qos: Any, broker: Any, retain: Any, expiry: Any, tried: Any) -> Command:
    """A command without its payload: nearly always one that was checked before."""
    if not isinstance(topic, str) or not topic or set(topic) & set("+#"):
        raise BadRequest(f"topic must be a topic without + and #, not {topic!r}")
    if closes(topic):
        raise BadRequest(f"topic must hold no control character, nor half a character, not {topic!r}")
    if len(topic.encode()) > MAX_TOPIC_BYTES:
        raise BadRequest(f"topic must have at most {MAX_TOPIC_BYTES} bytes")
    if qos not in (0, 1) or isinstance(qos, bool):
        raise BadRequest(f"qos must be 0 or 1, not {qos!r}")
    if not isinstance(broker, str):
        raise BadRequest("broker must be the name of a [brokers.NAME] section")
    if not isinstance(retain, bool):
        raise BadRequest(f"retain must be true or false, not {retain!r}")
    if not isinstance(expiry, int) or isinstance(expiry, bool) or not 0 <= expiry < 1 << 32:
        raise BadRequest("expiry must be a whole number of seconds")
    body = {"broker": broker, "topic": topic, "qos": int(qos), "retain": retain, "expiry": expiry}
    return Command("mqtt", f"mqtt:{broker}", topic, body, expires({"expires": tried}))


@lru_cache(maxsize=1024)
def _bound_publication(bound: bytes) -> Command | None:
    """The command without its payload, if nothing that is bound is a part of that, or wrong."""
    given = jsontext.loads(bound)
    try:
        return MqttTarget.command(given)._replace(data=b"") if given.keys() <= _OPTIONS.keys() else None
    except BadRequest:
        return None
