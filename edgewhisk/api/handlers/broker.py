"""Who is at the embedded broker, and what it keeps. Not part of OpenWhisk's API."""

from __future__ import annotations

import base64
from typing import Any, Final

from edgewhisk.api.services import Services
from edgewhisk.broker.server import BrokerServer
from edgewhisk.broker.topics import is_filter
from edgewhisk.errors import BadRequest, NotFound, shown

_MOST: Final = 1000  # retained messages of an answer


async def clients(verbs: Services) -> list[dict[str, Any]]:
    """All clients that the broker knows, connected ones first."""
    return _broker(verbs).clients()


async def kick(verbs: Services, key: str) -> dict[str, str]:
    """End a client's connection; its session stays, and it may come back."""
    if not _broker(verbs).kick(key):
        raise NotFound(f"no client {shown(key)} is connected", hint="edgewhisk broker show lists them")
    return {"kicked": key}


async def retained(verbs: Services, key: str) -> list[dict[str, Any]]:
    """The retained messages whose topics a filter matches, 1,000 at most; payloads in base64."""
    if not is_filter(key) or key.startswith("$share/"):
        raise BadRequest(f"{shown(key)} is no topic filter", hint="for example sensors/+/temperature")
    return [
        {"topic": one.topic, "qos": one.qos, "payload": base64.b64encode(one.payload).decode()}
        for one in _broker(verbs).retained(key)[:_MOST]
    ]


def _broker(verbs: Services) -> BrokerServer:
    if verbs.broker is None:
        raise NotFound(
            "the embedded broker does not run", hint='[mqtt] url = "embedded" makes the gateway one'
        )
    return verbs.broker
