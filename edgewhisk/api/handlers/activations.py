"""Activations: listed, counted, read."""

from __future__ import annotations

from edgewhisk.api.http import HttpRequest, HttpResponse
from edgewhisk.api.query import Query as Given
from edgewhisk.api.query import flag, page, parsed, whole
from edgewhisk.api.services import Services
from edgewhisk.controller.auth.entitlement import resolve_namespace
from edgewhisk.entity.names import entity_name, segments
from edgewhisk.errors import BadRequest
from edgewhisk.spi import Query


async def list_activations(ask: HttpRequest, verbs: Services, namespace: str) -> HttpResponse:
    """Newest first; `name`, `since` and `upto` filter, `docs` gives whole records."""
    identity = verbs.caller(ask)
    given = parsed(ask.query)
    wanted, docs = page(given, "activations"), flag(given, "docs")
    if docs and wanted.counted:
        raise BadRequest("The parameter 'docs' is not permitted with 'count'.")
    query = Query(
        resolve_namespace(namespace, identity),
        _name(given),
        _time(given, "since"),
        _time(given, "upto"),
        wanted.limit,
        wanted.skip,
    )
    if wanted.counted:
        return HttpResponse.of({"activations": await verbs.activations.count(identity, query)})
    found = await verbs.activations.list(identity, query, docs=docs)
    return HttpResponse(200, found.begin, more=found.more)


async def get_activation(
    ask: HttpRequest, verbs: Services, namespace: str, activation_id: str, part: str = ""
) -> HttpResponse:
    """One record, or the `result` or `logs` of it."""
    identity = verbs.caller(ask)
    found = await verbs.activations.get(identity, resolve_namespace(namespace, identity), activation_id)
    if part == "result":
        return HttpResponse.of(found["response"])
    return HttpResponse.of({"logs": found["logs"]} if part == "logs" else found)


def _name(given: Given) -> str | None:
    """The filter `a` or `pkg/a`; slashes around it say nothing."""
    text = given.get("name", "")
    if not text.strip():
        return None
    try:
        names = [entity_name(one) for one in segments(text)]
    except BadRequest:
        names = []
    if not 1 <= len(names) <= 2:
        raise BadRequest(f"Parameter may be a 'simple' name or 'package-name/simple' name: {text}")
    return "/".join(names)


def _time(given: Given, key: str) -> int | None:
    text = given.get(key)
    if text is None:
        return None
    number = whole(text, 63)
    if number is None:
        raise BadRequest(f"Parameter is not a valid value for epoch seconds: {text}")
    return number
