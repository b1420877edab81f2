"""Routes of activations."""

from __future__ import annotations

from quart import Blueprint, Response, request

from edgewhisk.api.reading import answer, caller, flag, page, services
from edgewhisk.controller.entitlement import resolve_namespace
from edgewhisk.errors import BadRequest
from edgewhisk.spi import Query

activations = Blueprint("activations", __name__, url_prefix="/api/v1/namespaces/<namespace>/activations")


@activations.get("", strict_slashes=False)
async def list_activations(namespace: str) -> Response:
    """Newest first; `name`, `since` and `upto` filter, `docs` gives whole records."""
    identity = caller()
    wanted = page("activations")
    docs = flag("docs")
    if docs and wanted.counted:
        raise BadRequest("The parameter 'docs' is not permitted with 'count'.")
    query = Query(
        resolve_namespace(namespace, identity),
        _name(),
        _time("since"),
        _time("upto"),
        wanted.limit,
        wanted.skip,
    )
    if wanted.counted:
        return answer({"activations": await services().activations.count(identity, query)})
    return answer(await services().activations.list(identity, query, docs=docs))


@activations.get("/<activation_id>", strict_slashes=False)
async def get_activation(namespace: str, activation_id: str) -> Response:
    """One record."""
    identity = caller()
    owner = resolve_namespace(namespace, identity)
    return answer(await services().activations.get(identity, owner, activation_id))


@activations.get("/<activation_id>/result", strict_slashes=False)
async def get_result(namespace: str, activation_id: str) -> Response:
    """The response of one record."""
    identity = caller()
    owner = resolve_namespace(namespace, identity)
    return answer((await services().activations.get(identity, owner, activation_id))["response"])


@activations.get("/<activation_id>/logs", strict_slashes=False)
async def get_logs(namespace: str, activation_id: str) -> Response:
    """The log lines of one record."""
    identity = caller()
    owner = resolve_namespace(namespace, identity)
    return answer({"logs": (await services().activations.get(identity, owner, activation_id))["logs"]})


def _name() -> str | None:
    text = request.args.get("name")
    if text and text.count("/") > 1:
        raise BadRequest(f"Parameter may be a 'simple' name or 'package-name/simple' name: {text}")
    return text or None


def _time(key: str) -> int | None:
    text = request.args.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise BadRequest(f"Parameter is not a valid value for epoch seconds: {text}")
    return int(text)
