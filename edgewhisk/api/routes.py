"""Quart's routes of what the door in front of it answers, for paths that the door leaves to Quart."""

from __future__ import annotations

from quart import Blueprint, Response, g

from edgewhisk.api.handlers import activations, health
from edgewhisk.api.handlers.invoke import fire, invoke
from edgewhisk.api.handlers.web import VERBS, serve
from edgewhisk.api.quart_adapter import asked, sent, services

routes = Blueprint("routes", __name__)
_SPACE = "/api/v1/namespaces/<namespace>"


@routes.post(f"{_SPACE}/actions/<name>")
@routes.post(f"{_SPACE}/actions/<package>/<name>")
async def invoke_route(namespace: str, name: str, package: str | None = None) -> Response:
    """Invoke an action."""
    return sent(await invoke(asked(), services(), namespace, package, name))


@routes.post(f"{_SPACE}/triggers/<name>")
async def fire_route(namespace: str, name: str) -> Response:
    """Fire a trigger."""
    return sent(await fire(asked(), services(), namespace, name))


@routes.route("/api/v1/web/<path:path>", methods=VERBS, provide_automatic_options=False)
async def web_route(path: str) -> Response:
    """Any request for a web action."""
    return sent(await serve(asked(), services(), path, g.request_id))


@routes.get(f"{_SPACE}/activations", strict_slashes=False)
async def activations_route(namespace: str) -> Response:
    """List or count activations."""
    return sent(await activations.list_activations(asked(), services(), namespace))


@routes.get(f"{_SPACE}/activations/<activation_id>", defaults={"part": ""})
@routes.get(f"{_SPACE}/activations/<activation_id>/result", defaults={"part": "result"})
@routes.get(f"{_SPACE}/activations/<activation_id>/logs", defaults={"part": "logs"})
async def activation_route(namespace: str, activation_id: str, part: str) -> Response:
    """One activation, or a part of it."""
    return sent(await activations.get_activation(asked(), services(), namespace, activation_id, part))


@routes.get("/ping")
async def ping_route() -> Response:
    """Liveness."""
    return sent(await health.ping(asked(), services()))


@routes.get("/metrics")
async def metrics_route() -> Response:
    """Counters."""
    return sent(await health.metrics(asked(), services()))


@routes.get("/edgewhisk/status")
async def status_route() -> Response:
    """State."""
    return sent(await health.status(asked(), services()))
