"""What the broker tells of itself below `$SYS`, in mosquitto's words where it has some. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgewhisk.broker.message import PublishedMessage

_EVERY: Final = {
    "clients/connected": "clients",
    "clients/total": "sessions",
    "subscriptions/count": "subscriptions",
    "retained messages/count": "retained",
    "store/messages/count": "queued",
    "store/messages/bytes": "queued_bytes",
    "messages/received": "received",
    "messages/sent": "sent",
    "publish/messages/dropped": "dropped",
}


def sys_messages(told: Mapping[str, Any], uptime: float, version: str) -> list[PublishedMessage]:
    """The messages; `told` is what `Broker.describe` says, `uptime` in seconds."""
    values = {"version": f"EdgeWhisk {version}", "uptime": f"{uptime:.0f} seconds"}
    values |= {topic: str(told[key]) for topic, key in _EVERY.items()}
    return [
        PublishedMessage(f"$SYS/broker/{topic}", value.encode(), 0, retain=True)
        for topic, value in values.items()
    ]
