"""What describes the gateway: what it is, its limits, its documents."""

from __future__ import annotations

from typing import Any, Final

from edgewhisk import __version__
from edgewhisk.api.http import HttpRequest, HttpResponse
from edgewhisk.api.services import Services
from edgewhisk.controller.auth.entitlement import check_owner, resolve_namespace
from edgewhisk.entity.limits import Limits
from edgewhisk.errors import BadRequest

_MB = 1 << 20
_EDGES = {edge: edge for edge in ("min", "max", "default")} | {"default_min": "min", "default_max": "max"}
VERSION: Final = {  # what `wsk property get` shows
    "description": "OpenWhisk API",
    "api_version": "1.0.0",
    "api_version_path": "v1",
    "build": f"edgewhisk-{__version__}",
    "buildno": __version__,
    "swagger_paths": {"ui": "/docs", "api-docs": "/api-docs"},
}
DOCS: Final = {"api-docs": "/api/v1/api-docs", "documentation": "https://github.com/edgewhisk/edgewhisk"}


async def constant(_ask: HttpRequest, _verbs: Services, *, value: Any) -> HttpResponse:
    """The same for everybody, always."""
    return HttpResponse.of(value)


async def root(_ask: HttpRequest, verbs: Services) -> HttpResponse:
    """What wskdeploy asks before it deploys."""
    return HttpResponse.of(
        {
            "description": "OpenWhisk",
            "support": {"github": "https://github.com/edgewhisk/edgewhisk/issues", "slack": ""},
            "api_paths": ["/api/v1"],
            "limits": _info_limits(verbs.limits),
            "runtimes": verbs.runtimes,
        }
    )


async def namespaces(ask: HttpRequest, verbs: Services) -> HttpResponse:
    """The caller's namespaces: one."""
    return HttpResponse.of([verbs.caller(ask).namespace])


async def limits(ask: HttpRequest, verbs: Services, namespace: str) -> HttpResponse:
    """What a namespace may do."""
    identity = verbs.caller(ask)
    owner = resolve_namespace(namespace, identity)
    check_owner(identity, owner, owner)
    held = verbs.limits
    return HttpResponse.of(
        {
            "invocationsPerMinute": held.invocations_per_minute,
            "concurrentInvocations": held.concurrent_invocations,
            "firesPerMinute": held.fires_per_minute,
            "minActionMemory": held.min_action_memory,
            "maxActionMemory": held.max_action_memory,
            "minActionLogs": held.min_action_logs,
            "maxActionLogs": held.max_action_logs,
            "minActionTimeout": held.min_action_duration,
            "maxActionTimeout": held.max_action_duration,
            "minActionConcurrency": 1,
            "maxActionConcurrency": held.max_action_concurrency,
            "maxActionInstances": held.concurrent_invocations,
            "maxParameterSize": f"{held.max_parameter_size} B",
        }
    )


async def inner_limits(ask: HttpRequest, verbs: Services, namespace: str, inner: str) -> HttpResponse:
    """OpenWhisk names this route and has nothing there."""
    verbs.caller(ask)
    del namespace, inner
    raise BadRequest("Inner entity level routes for limits are not yet implemented.")


async def api_docs(_ask: HttpRequest, _verbs: Services) -> HttpResponse:
    """The Swagger 2.0 document of what is served here, as OpenWhisk's tools read it."""
    from edgewhisk.api.swagger import swagger  # it is made of the routes, of which this is one

    return HttpResponse.of(swagger())


async def openapi_docs(_ask: HttpRequest, _verbs: Services) -> HttpResponse:
    """The same as OpenAPI 3.0."""
    from edgewhisk.api.openapi import openapi  # as above

    return HttpResponse.of(openapi())


def _info_limits(held: Limits) -> dict[str, Any]:
    document: dict[str, Any] = {
        "actions_per_minute": held.invocations_per_minute,
        "triggers_per_minute": held.fires_per_minute,
        "concurrent_actions": held.concurrent_invocations,
        "sequence_length": held.sequence_length,
    }
    for (
        shown,
        edge,
    ) in _EDGES.items():  # `default_min` and `default_max` hold where a namespace has none of its own
        document[f"{shown}_action_duration"] = getattr(held, f"{edge}_action_duration")
        document[f"{shown}_action_memory"] = getattr(held, f"{edge}_action_memory") * _MB
        document[f"{shown}_action_logs"] = getattr(held, f"{edge}_action_logs") * _MB
    return document
