"""Home Assistant's MQTT discovery: entities announce on which topic their state is. Pure.

Source: Home Assistant documentation, "MQTT Discovery" (single component and device discovery payloads,
abbreviations) and "Using templates".
Of templates the forms that devices really send are understood: a path into `value_json`, or `value`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from edgewhisk import jsontext

MOST: Final = 5000  # entities
_LONGEST: Final = 65_535  # bytes of a topic: MQTT 3.1.1, section 1.5.3
_SHORT: Final = {
    "stat_t": "state_topic",
    "val_tpl": "value_template",
    "unit_of_meas": "unit_of_measurement",
    "obj_id": "object_id",
    "def_ent_id": "default_entity_id",
    "pl_on": "payload_on",
    "pl_off": "payload_off",
    "stat_on": "state_on",
    "stat_off": "state_off",
    "p": "platform",
    "cmps": "components",
}
_SWITCHED: Final = ("binary_sensor", "switch", "light", "fan", "siren")
_CONFIG: Final = re.compile(r"[^/]+/([a-z_]+)/(?:([\w-]+)/)?([\w-]+)/config")
_TEMPLATE: Final = re.compile(
    r"\{\{-?\s*(value_json|value)\s*"
    r"((?:\.\w+|\[\s*(?:'[^']*'|\"[^\"]*\"|\d+)\s*\])*)"
    r"\s*(?:\|\s*(?:float|int|round|string)\s*(?:\([^)]*\)\s*)?)*-?\}\}"
)
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{0,15})?(?:[eE][+-]?[0-9]{1,2})?")
_STEP: Final = re.compile(r"\.(\w+)|\[\s*'([^']*)'\s*\]|\[\s*\"([^\"]*)\"\s*\]|\[\s*(\d+)\s*\]")


class NotDiscovery(ValueError):
    """The message is none of the protocol; the text says why."""


class Entity(NamedTuple):
    """One announced value."""

    name: str
    topic: str
    path: tuple[str, ...] | None  # None: the whole message
    unit: str
    on: str | None  # payload that means on, of what is on or off
    off: str = "OFF"


class Value(NamedTuple):
    """One state."""

    name: str
    value: Any
    unit: str
    missing: str = ""  # why there is no value


class Discovery:
    """What was announced so far."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._entities: dict[str, list[Entity]] = {}  # by config topic
        self._by_topic: dict[str, list[Entity]] = {}
        self._count = 0

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
        for entity in self._entities.pop(topic, []):  # what it said before does not hold any more
            self._count -= 1
            self._by_topic[entity.topic].remove(entity)
            if not self._by_topic[entity.topic]:
                del self._by_topic[entity.topic]
        found = _announced(match, payload) if payload else []
        if self._count + len(found) > MOST:
            raise NotDiscovery(f"more than {MOST} entities announced themselves")
        if found:
            self._entities[topic] = found
        for entity in found:
            self._count += 1
            self._by_topic.setdefault(entity.topic, []).append(entity)


def _announced(match: re.Match[str], payload: bytes) -> list[Entity]:
    """The entities of an announcement that have a state. Raises `NotDiscovery`."""
    try:
        found = jsontext.parse_odd(payload).value
    except jsontext.NotJson:
        raise NotDiscovery("the announcement is not JSON") from None
    if not isinstance(found, dict):
        raise NotDiscovery("the announcement is not a JSON object")
    kind, node, name = match.groups()
    config, label = _long(found), f"{node}_{name}" if node else name
    if kind != "device":
        entity = _entity(kind, label, config)
        return [entity] if entity else []
    parts = config.get("components")
    if not isinstance(parts, dict):
        raise NotDiscovery("the device announces no components")
    shared = {key: value for key, value in config.items() if key in ("~", "state_topic")}
    made = [
        _entity(str(part.get("platform")), f"{label}_{key}", {**shared, **part})
        for key, part in ((key, _long(part)) for key, part in parts.items() if isinstance(part, dict))
        if len(part) > 1  # a component with nothing but its platform was taken away
    ]
    return [entity for entity in made if entity]


def _long(found: Mapping[str, Any]) -> dict[str, Any]:
    """With the long names of keys."""
    return {_SHORT.get(key, key): value for key, value in found.items()}


def _entity(kind: str, label: str, config: Mapping[str, Any]) -> Entity | None:
    """One entity; None if it has no state."""
    topic = config.get("state_topic")
    if not isinstance(topic, str):
        return None
    base = config.get("~", "")
    if isinstance(base, str) and base:
        topic = base + topic[1:] if topic.startswith("~") else topic
        topic = topic[:-1] + base if topic.endswith("~") else topic
    if not _is_topic(topic):
        return None
    chosen = config.get("default_entity_id") or config.get("object_id") or label
    path, on, off = _path(config.get("value_template")), None, "OFF"
    if kind in _SWITCHED:
        on = str(config.get("state_on", config.get("payload_on", "ON")))
        off = str(config.get("state_off", config.get("payload_off", "OFF")))
    if kind == "light" and config.get("schema") == "json":
        path, on, off = ("state",), "ON", "OFF"
    unit = str(config.get("unit_of_measurement") or "")
    return Entity(str(chosen).rpartition(".")[2], topic, path, unit, on, off)


def _is_topic(text: str) -> bool:
    """Whether it is subscribed to as what it is: not as a filter that matches more, or a shared one."""
    plain = not set(text) & set("+#\0") and not text.startswith("$share/")
    return bool(text) and plain and len(text.encode()) <= _LONGEST


def _path(template: Any) -> tuple[str, ...] | None:
    if template is None:
        return None
    match = _TEMPLATE.fullmatch(str(template).strip())
    if match is None:
        raise NotDiscovery(f"the template {template!r} is more than a path")
    if match.group(1) == "value":
        return None
    return tuple(next((part for part in step if part), "") for step in _STEP.findall(match.group(2)))


def _state(entity: Entity, payload: bytes) -> Value | None:
    """The value of a state message; None where the message does not have it."""
    text = payload.decode(errors="replace").strip()
    found: Any = text
    if entity.path is not None:
        try:
            found = jsontext.parse_odd(payload).value
        except jsontext.NotJson:
            raise NotDiscovery("not JSON") from None
        for key in entity.path:
            if isinstance(found, Mapping) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdecimal() and len(key) < 9 and int(key) < len(found):
                found = found[int(key)]
            else:
                return None
    if entity.on is not None:
        # A template makes True of JSON's true, and announcements have payload_on: true.
        if str(found) in (entity.on, entity.off):
            return Value(entity.name, str(found) == entity.on, entity.unit)
        return Value(entity.name, None, entity.unit, f"{str(found)[:40]!r} is neither on nor off")
    return Value(entity.name, _number(found), entity.unit)


def _number(found: Any) -> Any:
    if not isinstance(found, str):
        return found if isinstance(found, int | float | bool) else jsontext.dumps(found).decode()
    if not _NUMBER.fullmatch(found):
        return found
    return int(found) if found.lstrip("+-").isdecimal() else float(found)
