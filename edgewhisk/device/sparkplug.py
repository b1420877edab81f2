"""Eclipse Sparkplug B payloads (specification 3.0.0, chapter 6.4). Pure.

The message type is described here by its field numbers; the protobuf library does the rest. A birth
message says which alias stands for which metric and of what type it is; data messages may then use the
alias alone and leave the type out. A death message makes all metrics stale until the next birth.
"""

from __future__ import annotations

import base64
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, NamedTuple

EDGES: Final = 4096  # edge nodes and devices whose births are remembered
METRICS: Final = 4096  # of one of them
_INTEGERS: Final = {1: 8, 2: 16, 3: 32, 4: 64}  # datatype -> bits of a signed integer
_METRIC: Final = (
    (1, "name", "STRING"),
    (2, "alias", "UINT64"),
    (3, "timestamp", "UINT64"),
    (4, "datatype", "UINT32"),
    (5, "is_historical", "BOOL"),
    (7, "is_null", "BOOL"),
    (10, "int_value", "UINT32"),
    (11, "long_value", "UINT64"),
    (12, "float_value", "FLOAT"),
    (13, "double_value", "DOUBLE"),
    (14, "boolean_value", "BOOL"),
    (15, "string_value", "STRING"),
    (16, "bytes_value", "BYTES"),
)
_REST: Final = ((3, "seq", "UINT64"), (4, "uuid", "STRING"), (5, "body", "BYTES"))  # of the payload
_COMPRESSED: Final = "SPBV1.0_COMPRESSED"  # the uuid where `body` is another payload (6.4.6)
_LARGEST: Final = 4 << 20  # bytes of one that is compressed
_VALUES: Final = tuple(name for number, name, _ in _METRIC if number >= 10)


class NotSparkplug(ValueError):
    """The bytes are no Sparkplug payload, or use an alias that no birth message explained."""


@cache
def message_type() -> Any:
    """The class of messages, made when it is first wanted: protobuf takes 3 MB and 30 ms to load."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b.proto", package="edgewhisk", syntax="proto2")
    payload = file.message_type.add(name="Payload")
    metric = payload.nested_type.add(name="Metric")
    for number, name, kind in _METRIC:
        wanted = getattr(types, f"TYPE_{kind}")
        metric.field.add(name=name, number=number, type=wanted, label=types.LABEL_OPTIONAL)
    payload.field.add(name="timestamp", number=1, type=types.TYPE_UINT64, label=types.LABEL_OPTIONAL)
    payload.field.add(
        name="metrics", number=2, type=types.TYPE_MESSAGE, label=types.LABEL_REPEATED,
        type_name=".edgewhisk.Payload.Metric",
    )  # fmt: skip
    for number, name, kind in _REST:
        wanted = getattr(types, f"TYPE_{kind}")
        payload.field.add(name=name, number=number, type=wanted, label=types.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("edgewhisk.Payload"))


class Metric(NamedTuple):
    """What a message says of one metric."""

    name: str
    value: Any
    missing: str = ""  # why there is no value


class Born(NamedTuple):
    """What a birth message said."""

    types: Mapping[str, int]  # name -> datatype
    aliases: Mapping[int, str]


_UNBORN: Final = Born({}, {})


class Sparkplug:
    """Remembers the birth of each edge node and device."""

    def __init__(self) -> None:
        """Nobody was born yet."""
        self._born: OrderedDict[tuple[str, str, str], Born] = OrderedDict()
        self._message = message_type()

    def metrics(self, data: bytes, parts: Mapping[str, str]) -> list[Metric]:
        """What a message says; `parts` of the topic: group, kind, node and maybe unit.

        Commands to a device say nothing about it. Raises `NotSparkplug`.
        """
        message = self._parsed(data)
        if message.uuid == _COMPRESSED:
            message = self._parsed(_inflated(message.body))
            if message.uuid == _COMPRESSED:
                raise NotSparkplug("a compressed payload in a compressed payload")
        if any(isinstance(metric.name, bytes) for metric in message.metrics):  # proto2 does not look
            raise NotSparkplug("the name of a metric is not UTF-8 text")
        kind = parts.get("kind", "")
        whose = (parts.get("group", ""), parts.get("node", ""), parts.get("unit", ""))
        if kind.endswith("CMD"):
            return []
        if kind.endswith("DEATH"):
            return self._bury(whose, kind)
        if kind.endswith("BIRTH"):
            self._remember(whose, message)
        born = self._born.get(whose, _UNBORN)
        found = {}
        for metric in message.metrics:
            name = metric.name or born.aliases.get(metric.alias, "")
            if not name:
                raise NotSparkplug(f"metric alias {metric.alias}: its birth message did not come yet")
            found[name] = _metric(name, metric, metric.datatype or born.types.get(name, 0))
        return list(found.values())

    def _parsed(self, data: bytes) -> Any:
        from google.protobuf.message import DecodeError  # loaded by now

        message = self._message()
        try:
            message.ParseFromString(data)
        except DecodeError:
            raise NotSparkplug("not a Sparkplug B payload") from None
        return message

    def _remember(self, whose: tuple[str, str, str], message: Any) -> None:
        named = [metric for metric in message.metrics if metric.name][:METRICS]
        self._born[whose] = Born(
            {metric.name: metric.datatype for metric in named},
            {metric.alias: metric.name for metric in named if metric.HasField("alias")},
        )
        self._born.move_to_end(whose)
        if len(self._born) > EDGES:
            self._born.popitem(last=False)

    def _bury(self, whose: tuple[str, str, str], kind: str) -> list[Metric]:
        """All metrics of the dead are stale; with an edge node die its devices."""
        born = self._born.pop(whose, _UNBORN)
        if not whose[2]:
            for other in [other for other in self._born if other[:2] == whose[:2]]:
                del self._born[other]
        return [Metric(name, None, f"stale since {kind}") for name in born.types]


def _inflated(body: bytes) -> bytes:
    """What was compressed with GZIP or DEFLATE (RFC 1952, 1950, 1951); raises `NotSparkplug`."""
    for bits in (47, -15):  # with either header, without one
        unpacking = zlib.decompressobj(bits)
        try:
            data = unpacking.decompress(body, _LARGEST)
        except zlib.error:
            continue
        if unpacking.unconsumed_tail:
            raise NotSparkplug(f"a compressed payload of more than {_LARGEST} bytes")
        if unpacking.eof:
            return data
    raise NotSparkplug("the compressed payload is damaged, or not compressed with GZIP or DEFLATE")


def _metric(name: str, metric: Any, datatype: int) -> Metric:
    if metric.is_null:
        return Metric(name, None, "null")
    field = next((name for name in _VALUES if metric.HasField(name)), None)
    if field is None:
        return Metric(name, None, "of a type that is not understood")
    value = getattr(metric, field)
    if field == "float_value":
        value = float(f"{value:.7g}")  # the digits that 32 bits hold
    elif isinstance(value, bytes):
        if field != "bytes_value":
            return Metric(name, None, "not UTF-8 text")
        value = base64.b64encode(value).decode()
    elif isinstance(value, float | bool | str):
        pass
    elif bits := _INTEGERS.get(datatype):
        value &= (1 << bits) - 1
        value -= (value >> (bits - 1)) << bits
    return Metric(name, value)
