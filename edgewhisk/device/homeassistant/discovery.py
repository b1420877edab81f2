"""Home Assistant's MQTT discovery: entities announce on which topic their state is. Pure.

Source: Home Assistant documentation, "MQTT Discovery" (single component and device discovery payloads,
abbreviations) and "Using templates".
Of templates the forms that devices really send are understood: see `template`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.base.mqtt_topics import check_filter, matches
from edgewhisk.device.document import ABSENT, NoDocument, is_endless, of_json
from edgewhisk.device.homeassistant.template import NoTemplate, ValueTemplate, number, read
from edgewhisk.errors import FeedError

MAX_ENTITIES: Final = 5000  # entities
WILD: Final = 200  # of their topics with + or #, each of which is compared with each message
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
_REMOVED: Final = "its announcement was taken away"


class NotDiscovery(ValueError):
    """The message is none of the protocol; the text says why."""


class AnnouncedEntity(NamedTuple):
    """One announced value."""

    name: str
    topic: str  # a filter, if it has + or #
    template: ValueTemplate
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
        self._entities: dict[str, list[AnnouncedEntity]] = {}  # by config topic
        self._by_topic: dict[str, list[AnnouncedEntity]] = {}
        self._wild: set[str] = set()  # those of them with + or #
        self._topics: frozenset[str] = frozenset()
        self._count = 0

    def topics(self) -> frozenset[str]:
        """Where states are published; the same object until that changes."""
        return self._topics

    def read(self, topic: str, payload: bytes) -> list[Value]:
        """Take a message: of a state its values, of an announcement the entities that are no more.

        Raises `NotDiscovery`.
        """
        match = _CONFIG.fullmatch(topic)
        if match is not None and (topic in self._entities or topic not in self._by_topic):
            gone = self._announce(topic, match, payload)
            return [Value(entity.name, None, entity.unit, _REMOVED) for entity in gone]
        entities = list(self._by_topic.get(topic, ()))
        entities += [one for wide in self._wild if matches(wide, topic) for one in self._by_topic[wide]]
        if not entities:
            raise NotDiscovery("neither an announcement nor a topic that was announced")
        return _states(entities, payload)

    def _announce(self, topic: str, match: re.Match[str], payload: bytes) -> list[AnnouncedEntity]:
        """Take an announcement; which entities of the one before it are no more. Raises `NotDiscovery`."""
        before = self._entities.pop(topic, [])  # what it said before does not hold any more
        self._forget(before)
        found, problem = _announced(match, payload) if payload else ([], "")
        wild = {one.topic for one in found if _is_wild(one.topic)} - self._wild
        if self._count + len(found) > MAX_ENTITIES or len(self._wild) + len(wild) > WILD:
            raise NotDiscovery(
                f"more than {MAX_ENTITIES} entities, or {WILD} of topics with + and #, announced themselves"
            )
        if found:
            self._entities[topic] = found
        for entity in found:
            self._count += 1
            self._by_topic.setdefault(entity.topic, []).append(entity)
        self._wild |= wild
        self._topics = frozenset(self._by_topic)
        if problem:  # of some of its components; the others are served
            raise NotDiscovery(problem)
        names = {entity.name for entity in found}
        return [entity for entity in before if entity.name not in names]

    def _forget(self, entities: Sequence[AnnouncedEntity]) -> None:
        for entity in entities:
            self._count -= 1
            self._by_topic[entity.topic].remove(entity)
            if not self._by_topic[entity.topic]:
                del self._by_topic[entity.topic]
                self._wild.discard(entity.topic)
        self._topics = frozenset(self._by_topic)


def _announced(match: re.Match[str], payload: bytes) -> tuple[list[AnnouncedEntity], str]:
    """The entities of an announcement that have a state, and why some have not.

    Raises `NotDiscovery` if it is none.
    """
    try:
        found = of_json(payload)
    except NoDocument:
        raise NotDiscovery("the announcement is not JSON") from None
    if not isinstance(found, dict):
        raise NotDiscovery("the announcement is not a JSON object")
    kind, node, name = match.groups()
    config, label = _long(found), f"{node}_{name}" if node else name
    if kind != "device":
        return _entities([(kind, label, config)])
    parts = config.get("components")
    if not isinstance(parts, dict):
        raise NotDiscovery("the device announces no components")
    shared = {key: value for key, value in config.items() if key in ("~", "state_topic")}
    return _entities(
        (str(part.get("platform")), f"{label}_{key}", {**shared, **part})
        for key, part in ((key, _long(part)) for key, part in parts.items() if isinstance(part, dict))
        if len(part) > 1  # a component with nothing but its platform was taken away
    )


def _entities(parts: Iterable[tuple[str, str, Mapping[str, Any]]]) -> tuple[list[AnnouncedEntity], str]:
    """Those that can be served, and why the first of the others cannot."""
    found, problem = [], ""
    for kind, label, config in parts:
        try:
            entity = _entity(kind, label, config)
        except NotDiscovery as error:
            problem = problem or str(error)
        else:
            found += [entity] if entity else []
    return found, problem


def _long(found: Mapping[str, Any]) -> dict[str, Any]:
    """With the long names of keys."""
    return {_SHORT.get(key, key): value for key, value in found.items()}


def _entity(kind: str, label: str, config: Mapping[str, Any]) -> AnnouncedEntity | None:
    """One entity; None if it has no state."""
    topic = config.get("state_topic")
    if not isinstance(topic, str):
        return None
    base = config.get("~", "")
    if isinstance(base, str) and base:
        topic = base + topic[1:] if topic.startswith("~") else topic
        topic = topic[:-1] + base if topic.endswith("~") else topic
    _check_topic(topic)
    chosen = config.get("default_entity_id") or config.get("object_id") or label
    template, on, off = _template(config.get("value_template")), None, "OFF"
    if kind in _SWITCHED:
        on = str(config.get("state_on", config.get("payload_on", "ON")))
        off = str(config.get("state_off", config.get("payload_off", "OFF")))
    if kind == "light" and config.get("schema") == "json":
        template, on, off = ValueTemplate(("state",)), "ON", "OFF"
    unit = str(config.get("unit_of_measurement") or "")
    return AnnouncedEntity(str(chosen).rpartition(".")[2], topic, template, unit, on, off)


def _check_topic(text: str) -> None:
    """Raise `NotDiscovery` for a topic that is not subscribed to: an action would get what is none of it."""
    try:
        check_filter(text)
    except FeedError as error:
        raise NotDiscovery(f"its state topic cannot be served: {error}") from None
    if text.startswith("$share/") or set(text.split("/")) <= {"+", "#"}:
        raise NotDiscovery(f"its state topic cannot be served: {text!r} is shared, or that of everything")


def _is_wild(text: str) -> bool:
    return not {"+", "#"}.isdisjoint(text.split("/"))


def _template(text: Any) -> ValueTemplate:
    if text is None:
        return ValueTemplate()
    try:
        return read(str(text))
    except NoTemplate as error:
        raise NotDiscovery(str(error)) from None


def _states(entities: Sequence[AnnouncedEntity], payload: bytes) -> list[Value]:
    """The values of a state message; raises `NotDiscovery` if it is of none of the entities."""
    values: list[Value] = []
    refused = ""
    for entity in entities:
        try:
            found = _state(entity, payload)
        except (NoDocument, NoTemplate) as error:
            refused = str(error)
            values.append(Value(entity.name, None, entity.unit, refused))
        else:
            values += [] if found is None else [found]
    if refused and all(one.missing for one in values):
        raise NotDiscovery(refused)
    return values


def _state(entity: AnnouncedEntity, payload: bytes) -> Value | None:
    """The value of a state message; None where the message does not have it.

    Raises `NoDocument`, `NoTemplate`.
    """
    whole = entity.template.path is None
    text = payload.decode(errors="replace").strip()
    found = entity.template.find(text if whole else of_json(payload))
    if found is ABSENT:
        return None
    if entity.on is not None:
        # A template makes True of JSON's true, and announcements have payload_on: true.
        if str(found) in (entity.on, entity.off):
            return Value(entity.name, str(found) == entity.on, entity.unit)
        return Value(entity.name, None, entity.unit, f"{str(found)[:40]!r} is neither on nor off")
    if isinstance(found, str) and is_endless(found):
        return Value(entity.name, None, entity.unit, f"{entity.name} is no number")
    return Value(entity.name, _shown(found), entity.unit)


def _shown(found: Any) -> Any:
    """A number or a switch as it is, also of a text; anything else as text."""
    if isinstance(found, str):
        return number(found)
    if isinstance(found, int | float | bool):
        return found
    return jsontext.dumps(found).decode()
