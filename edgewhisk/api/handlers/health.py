"""How the gateway is: asked again and again, by programs and from a terminal."""

from __future__ import annotations

from edgewhisk.api.http import HttpRequest, HttpResponse
from edgewhisk.api.services import Services
from edgewhisk.entity.identity import GUEST


async def ping(_ask: HttpRequest, _verbs: Services) -> HttpResponse:
    """Liveness."""
    return HttpResponse(200, b"pong", content_type="text/plain")


async def metrics(ask: HttpRequest, verbs: Services) -> HttpResponse:
    """Counters for Prometheus; what names namespaces, actions and triggers is the default subject's alone."""
    from edgewhisk.api.metrics import exposition  # its library is only loaded where somebody scrapes

    given = ask.header(b"authorization")
    named = bool(given) and verbs.subjects.authorize(given).subject == GUEST
    kind, text = exposition(await verbs.status(), verbs.measure(), named=named)
    return HttpResponse(200, text, content_type=kind)


async def status(ask: HttpRequest, verbs: Services) -> HttpResponse:
    """What `edgewhisk status` shows: not part of OpenWhisk's API, and the default subject's alone."""
    verbs.check_owner(ask, "edgewhisk/status")
    return HttpResponse.of(await verbs.status())
