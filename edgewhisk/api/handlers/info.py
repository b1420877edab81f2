"""Routes that describe the gateway: what it is, its limits, its documents."""

from __future__ import annotations

from typing import Any

from quart import Blueprint, Response

from edgewhisk import __version__
from edgewhisk.api.openapi import openapi
from edgewhisk.api.quart_adapter import answer, caller, services
from edgewhisk.controller.auth.entitlement import check_owner, resolve_namespace
from edgewhisk.entity.limits import Limits
from edgewhisk.errors import BadRequest

info = Blueprint("info", __name__)
_MB = 1 << 20


@info.get("/")
async def root() -> Response:
    """What wskdeploy asks before it deploys."""
    return answer(
        {
            "description": "OpenWhisk",
            "support": {"github": "https://github.com/edgewhisk/edgewhisk/issues", "slack": ""},
            "api_paths": ["/api/v1"],
            "limits": _info_limits(services().limits),
            "runtimes": services().runtimes,
        }
    )


@info.get("/api/v1", strict_slashes=False)
async def version() -> Response:
    """What `wsk property get` shows."""
    return answer(
        {
            "description": "OpenWhisk API",
            "api_version": "1.0.0",
            "api_version_path": "v1",
            "build": f"edgewhisk-{__version__}",
            "buildno": __version__,
            "swagger_paths": {"ui": "/docs", "api-docs": "/api-docs"},
        }
    )


@info.get("/api/v1/namespaces", strict_slashes=False)
async def namespaces() -> Response:
    """The caller's namespaces: one."""
    return answer([caller().namespace])


@info.get("/api/v1/namespaces/<namespace>/limits", strict_slashes=False)
async def limits(namespace: str) -> Response:
    """What a namespace may do."""
    identity = caller()
    owner = resolve_namespace(namespace, identity)
    check_owner(identity, owner, owner)
    held = services().limits
    return answer(
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


@info.get("/api-docs")
@info.get("/api/v1/api-docs")
async def api_docs() -> Response:
    """The OpenAPI document of what is served here."""
    return answer(openapi())


@info.get("/docs")
@info.get("/api/v1/docs")
async def docs() -> Response:
    """Where people find the documentation."""
    return answer({"api-docs": "/api/v1/api-docs", "documentation": "https://github.com/edgewhisk/edgewhisk"})


@info.get("/invokers")
async def invokers() -> Response:
    """The one invoker, as OpenWhisk's operators see theirs."""
    return answer({"invoker0/0": "up"})


@info.get("/invokers/healthy/count")
async def healthy() -> Response:
    """How many invokers are well."""
    return answer(1)


@info.get("/invokers/ready")
async def invokers_ready() -> Response:
    """Whether all invokers are well."""
    return answer({"healthy": "1/1"})


@info.get("/api/v1/namespaces/<namespace>/limits/<path:inner>")
async def inner_limits(namespace: str, inner: str) -> Response:
    """OpenWhisk names this route and has nothing there."""
    caller()
    del namespace, inner
    raise BadRequest("Inner entity level routes for limits are not yet implemented.")


def _info_limits(held: Limits) -> dict[str, Any]:
    document: dict[str, Any] = {
        "actions_per_minute": held.invocations_per_minute,
        "triggers_per_minute": held.fires_per_minute,
        "concurrent_actions": held.concurrent_invocations,
        "sequence_length": held.sequence_length,
    }
    for edge in ("min", "max", "default"):
        document[f"{edge}_action_duration"] = getattr(held, f"{edge}_action_duration")
        document[f"{edge}_action_memory"] = getattr(held, f"{edge}_action_memory") * _MB
        document[f"{edge}_action_logs"] = getattr(held, f"{edge}_action_logs") * _MB
    return document
