"""Home Assistant's MQTT discovery: entities announce on which topic their state is. Pure.

Source: Home Assistant documentation, "MQTT Discovery" (topics, abbreviations) and "Using templates".
Of templates the forms that devices really send are understood: a path into `value_json`, or `value`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

MOST: Final = 5000  # entities
_SHORT: Final = {
    "stat_t": "state_topic",
    "val_tpl": "value_template",
    "unit_of_meas": "unit_of_measurement",
    "obj_id": "object_id",
    "pl_on": "payload_on",
}
_CONFIG: Final = re.compile(r"[^/]+/([a-z_]+)/(?:([\w-]+)/)?([\w-]+)/config")
_TEMPLATE: Final = re.compile(
    r"\{\{-?\s*(value_json|value)\s*"
    r"((?:\.\w+|\[\s*(?:'[^']*'|\"[^\"]*\"|\d+)\s*\])*)"
    r"\s*(?:\|\s*(?:float|int|round|string)\s*(?:\([^)]*\))?\s*)*-?\}\}"
)
_STEP: Final = re.compile(r"\.(\w+)|\[\s*'([^']*)'\s*\]|\[\s*\"([^\"]*)\"\s*\]|\[\s*(\d+)\s*\]")


class NotDiscovery(ValueError):
    """The message is none of the protocol; the text says why."""


class Entity(NamedTuple):
    """One announced value."""

    name: str
    topic: str
    path: tuple[str, ...] | None  # None: the whole message
    unit: str
    on: str | None  # payload that means on, of a binary sensor or switch


class Value(NamedTuple):
    """One state."""

    name: str
    value: Any
    unit: str


class Discovery:
    """What was announced so far."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._entities: dict[str, Entity] = {}  # by config topic
        self._by_topic: dict[str, list[Entity]] = {}

    def topics(self) -> frozenset[str]:
        """Where states are published."""
        return frozenset(self._by_topic)

    def read(self, topic: str, payload: bytes) -> list[Value]:
        """Take a message: an announcement gives nothing, a state its values. Raises `NotDiscovery`."""
        if topic in self._by_topic:
            return [value for entity in self._by_topic[topic] if (value := _state(entity, payload))]
        match = _CONFIG.fullmatch(topic)
        if match is None:
            raise NotDiscovery("neither an announcement nor a topic that was announced")
        self._announce(topic, match, payload)
        return []

    def _announce(self, topic: str, match: re.Match[str], payload: bytes) -> None:
        known = self._entities.pop(topic, None)
        if known is not None:
            self._by_topic[known.topic].remove(known)
            if not self._by_topic[known.topic]:
                del self._by_topic[known.topic]
        if not payload:
            return  # the entity is gone
        entity = _entity(match, payload)
        if entity is not None and len(self._entities) < MOST:
            self._entities[topic] = entity
            self._by_topic.setdefault(entity.topic, []).append(entity)


def _entity(match: re.Match[str], payload: bytes) -> Entity | None:
    """The entity of an announcement; None if it has no state. Raises `NotDiscovery`."""
    try:
        found = orjson.loads(payload)
    except orjson.JSONDecodeError:
        raise NotDiscovery("the announcement is not JSON") from None
    if not isinstance(found, dict):
        raise NotDiscovery("the announcement is not a JSON object")
    config = {_SHORT.get(key, key): value for key, value in found.items()}
    topic = config.get("state_topic")
    if not isinstance(topic, str) or not topic or set(topic) & set("+#\0"):
        return None
    base = config.get("~", "")
    if isinstance(base, str) and base:
        topic = base + topic[1:] if topic.startswith("~") else topic
        topic = topic[:-1] + base if topic.endswith("~") else topic
    kind, node, name = match.groups()
    unit = config.get("unit_of_measurement")
    on = str(config.get("payload_on", "ON")) if kind in ("binary_sensor", "switch", "light") else None
    label = str(config.get("object_id") or (f"{node}_{name}" if node else name))
    return Entity(label, topic, _path(config.get("value_template")), str(unit or ""), on)


def _path(template: Any) -> tuple[str, ...] | None:
    if template is None:
        return None
    match = _TEMPLATE.fullmatch(str(template).strip())
    if match is None:
        raise NotDiscovery(f"the template {template!r} is more than a path")
    if match.group(1) == "value":
        return None
    return tuple(next(part for part in step if part) for step in _STEP.findall(match.group(2)))


def _state(entity: Entity, payload: bytes) -> Value | None:
    """The value of a state message; None where the message does not have it."""
    text = payload.decode(errors="replace")
    found: Any = text
    if entity.path is not None:
        try:
            found = orjson.loads(payload)
        except orjson.JSONDecodeError:
            raise NotDiscovery("not JSON") from None
        for key in entity.path:
            if isinstance(found, Mapping) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
                found = found[int(key)]
            else:
                return None
    if entity.on is not None:
        return Value(entity.name, str(found) == entity.on, entity.unit)
    return Value(entity.name, _number(found), entity.unit)


def _number(found: Any) -> Any:
    if not isinstance(found, str):
        return found if isinstance(found, int | float | bool) else orjson.dumps(found).decode()
    try:
        value = float(found)
    except ValueError:
        return found
    if value != value or abs(value) == float("inf"):
        return found
    return int(value) if value.is_integer() and "." not in found else value
