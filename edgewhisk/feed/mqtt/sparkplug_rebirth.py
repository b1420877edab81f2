"""Asks Sparkplug edge nodes to be born again when a message uses an alias that nothing explained. Pure.

A gateway that was restarted has forgotten what the aliases stand for, and nodes say it once, in their
birth messages. Source: Sparkplug specification 3.0.0, 6.4.22 (NCMD) and 5.8 (Node Control/Rebirth).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

REBIRTH_INTERVAL: Final = 30.0  # seconds until a node is asked again
_NODES: Final = 1024  # remembered
_DATA: Final = ("NDATA", "DDATA")
_BOOLEAN: Final = 11  # the datatype
_NAME: Final = b"Node Control/Rebirth"


class Rebirths:
    """When which node was asked."""

    def __init__(self) -> None:
        """Nobody was asked yet."""
        self._asked: OrderedDict[str, float] = OrderedDict()

    def wanted(self, topic: str, now: float) -> str:
        """The topic on which to ask the node that published on `topic`; "" if there is no use in it now."""
        space, group, kind, node, *_ = [*topic.split("/"), "", "", ""]
        if kind not in _DATA or not group or not node:
            return ""
        where = f"{space}/{group}/NCMD/{node}"
        if now - self._asked.get(where, -REBIRTH_INTERVAL) < REBIRTH_INTERVAL:
            return ""
        self._asked[where] = now
        self._asked.move_to_end(where)
        if len(self._asked) > _NODES:
            self._asked.popitem(last=False)
        return where


def command(at: int) -> bytes:
    """The payload: a metric that is true. `at`: ms since the epoch."""
    stamp = _varint(at)
    metric = b"\x0a" + _varint(len(_NAME)) + _NAME  # 1: name
    metric += b"\x18" + stamp + b"\x20" + _varint(_BOOLEAN) + b"\x70\x01"  # 3: timestamp, 4: type, 14: value
    return b"\x08" + stamp + b"\x12" + _varint(len(metric)) + metric  # 1: timestamp, 2: metrics


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
