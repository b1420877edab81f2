"""Readings that devices POST, each with a token of its own. Not part of OpenWhisk's API."""

from __future__ import annotations

from typing import Final

from edgewhisk.api.http import HttpRequest, HttpResponse
from edgewhisk.api.services import Services
from edgewhisk.entity.names import FullyQualifiedName, entity_name, namespace_name
from edgewhisk.errors import TooLarge

_LARGEST: Final = 1 << 20  # bytes of one request


async def post_readings(ask: HttpRequest, verbs: Services, namespace: str, trigger: str) -> HttpResponse:
    """Readings of a device, answered when they are on disk."""
    name = FullyQualifiedName(namespace_name(namespace), None, entity_name(trigger))
    device = verbs.tokens.check(ask.header(b"authorization"), name)
    try:
        ask.check_length(_LARGEST)
        body = await ask.read(_LARGEST)
    except TooLarge:
        raise TooLarge(f"a device may send {_LARGEST} bytes at once") from None
    return HttpResponse.of({"accepted": await verbs.posts.post(name, device, body)}, 202)
