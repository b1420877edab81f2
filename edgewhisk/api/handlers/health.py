"""How the gateway is: asked again and again, by programs and from a terminal."""

from __future__ import annotations

from edgewhisk.api.http import Ask, Reply
from edgewhisk.api.services import Services
from edgewhisk.entity.identity import GUEST
from edgewhisk.errors import Forbidden


async def ping(_ask: Ask, _verbs: Services) -> Reply:
    """Liveness."""
    return Reply(200, b"pong", content_type="text/plain")


async def metrics(ask: Ask, verbs: Services) -> Reply:
    """Counters for Prometheus; what names namespaces, actions and triggers is the default subject's alone."""
    from edgewhisk.api.metrics import exposition  # its library is only loaded where somebody scrapes

    given = ask.header(b"authorization")
    named = bool(given) and verbs.subjects.authorize(given).subject == GUEST
    kind, text = exposition(await verbs.status(), verbs.measure(), named=named)
    return Reply(200, text, content_type=kind)


async def status(ask: Ask, verbs: Services) -> Reply:
    """What `edgewhisk status` shows: not part of OpenWhisk's API, and the default subject's alone."""
    if verbs.subjects.authorize(ask.header(b"authorization")).subject != GUEST:
        raise Forbidden("edgewhisk/status")
    return Reply.of(await verbs.status())
