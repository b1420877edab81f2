"""Eclipse Sparkplug B payloads (specification 3.0.0, chapter 6.4). Pure.

The message type is described here by its field numbers; the protobuf library does the rest. A birth
message says which alias stands for which metric; data messages may then use the alias alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

EDGES: Final = 4096  # devices whose aliases are remembered
_INTEGERS: Final = {1: 8, 2: 16, 3: 32, 4: 64}  # datatype -> bits of a signed integer
_TYPES: Final = descriptor_pb2.FieldDescriptorProto
_METRIC: Final = (
    (1, "name", _TYPES.TYPE_STRING),
    (2, "alias", _TYPES.TYPE_UINT64),
    (3, "timestamp", _TYPES.TYPE_UINT64),
    (4, "datatype", _TYPES.TYPE_UINT32),
    (5, "is_historical", _TYPES.TYPE_BOOL),
    (7, "is_null", _TYPES.TYPE_BOOL),
    (10, "int_value", _TYPES.TYPE_UINT32),
    (11, "long_value", _TYPES.TYPE_UINT64),
    (12, "float_value", _TYPES.TYPE_FLOAT),
    (13, "double_value", _TYPES.TYPE_DOUBLE),
    (14, "boolean_value", _TYPES.TYPE_BOOL),
    (15, "string_value", _TYPES.TYPE_STRING),
)
_VALUES: Final = tuple(name for number, name, _ in _METRIC if number >= 10)


class NotSparkplug(ValueError):
    """The bytes are no Sparkplug payload, or use an alias that no birth message explained."""


def _message() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b.proto", package="edgewhisk", syntax="proto2")
    payload = file.message_type.add(name="Payload")
    metric = payload.nested_type.add(name="Metric")
    for number, name, kind in _METRIC:
        metric.field.add(name=name, number=number, type=kind, label=_TYPES.LABEL_OPTIONAL)
    payload.field.add(name="timestamp", number=1, type=_TYPES.TYPE_UINT64, label=_TYPES.LABEL_OPTIONAL)
    payload.field.add(
        name="metrics", number=2, type=_TYPES.TYPE_MESSAGE, label=_TYPES.LABEL_REPEATED,
        type_name=".edgewhisk.Payload.Metric",
    )  # fmt: skip
    payload.field.add(name="seq", number=3, type=_TYPES.TYPE_UINT64, label=_TYPES.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("edgewhisk.Payload"))


Payload: Final = _message()


class Sparkplug:
    """Remembers the aliases of each edge node and device."""

    def __init__(self) -> None:
        """Nobody was born yet."""
        self._aliases: OrderedDict[tuple[str, str, str], dict[int, str]] = OrderedDict()

    def metrics(self, data: bytes, parts: Mapping[str, str]) -> dict[str, Any]:
        """Name -> value of each metric; `parts` of the topic: group, kind, node and maybe point.

        Raises `NotSparkplug`.
        """
        message = Payload()
        try:
            message.ParseFromString(data)
        except DecodeError:
            raise NotSparkplug("not a Sparkplug B payload") from None
        kind = parts.get("kind", "")
        whose = (parts.get("group", ""), parts.get("node", ""), parts.get("unit", ""))
        if kind.endswith("BIRTH"):
            self._remember(whose, {m.alias: m.name for m in message.metrics if m.HasField("alias")})
        known = self._aliases.get(whose, {})
        found = {}
        for metric in message.metrics:
            name = metric.name or known.get(metric.alias, "")
            if not name:
                raise NotSparkplug(f"metric alias {metric.alias}: its birth message did not come yet")
            found[name] = _value(metric)
        return found

    def _remember(self, whose: tuple[str, str, str], aliases: dict[int, str]) -> None:
        self._aliases[whose] = aliases
        self._aliases.move_to_end(whose)
        if len(self._aliases) > EDGES:
            self._aliases.popitem(last=False)


def _value(metric: Any) -> Any:
    if metric.is_null:
        return None
    field = next((name for name in _VALUES if metric.HasField(name)), None)
    if field is None:
        return None
    value = getattr(metric, field)
    if field == "float_value":
        return float(f"{value:.7g}")  # the digits that 32 bits hold
    bits = _INTEGERS.get(metric.datatype)
    if bits and isinstance(value, int) and value >> (bits - 1) & 1:
        return (value & (1 << bits) - 1) - (1 << bits)
    return value
