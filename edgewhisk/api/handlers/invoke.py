"""What starts something: invoking actions and firing triggers."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.api.http import ACTIVATION_ID, HttpRequest, HttpResponse, full_name
from edgewhisk.api.query import flag, parsed, whole
from edgewhisk.api.services import Services
from edgewhisk.controller.controller import FIRE
from edgewhisk.entity.activation import document_of
from edgewhisk.entity.invocation.message import Status
from edgewhisk.errors import BadRequest

LONGEST_WAIT: Final = 60_000  # ms that a blocking invoke waits before it answers 202
_LONG: Final = 1024  # bytes of a query that is not remembered: a request may have 64 KB
HTTP_STATUS: Final = {
    Status.SUCCESS: 200,
    Status.APPLICATION_ERROR: 502,
    Status.DEVELOPER_ERROR: 502,
    Status.WHISK_ERROR: 500,
}


class Wanted(NamedTuple):
    """What the query of an invoke asks for."""

    blocking: bool
    only_result: bool
    wait: float  # seconds


async def invoke(
    ask: HttpRequest, verbs: Services, namespace: str, name: str, package: str | None = None
) -> HttpResponse:
    """Invoke an action, waiting for its result with `blocking=true`.

    Checks come in OpenWhisk's order: who, name, rate, rights, size, query, body, existence.
    """
    identity = verbs.caller(ask)
    wanted = full_name(identity, namespace, name, package)
    verbs.controller.admit(identity)
    verbs.actions.check_rights(identity, wanted)
    ask.check_length(verbs.limits.max_payload_size)
    query = wanted_of(ask.query) if len(ask.query) <= _LONG else wanted_of.__wrapped__(ask.query)
    given = await ask.payload(verbs.limits.max_payload_size)
    wait = query.wait if query.blocking else None
    started = await verbs.controller.invoke(identity, wanted, given, wait)
    headers = ((ACTIVATION_ID, started.activation_id),)
    if started.record is None or not query.blocking:
        return HttpResponse.of({"activationId": started.activation_id}, 202, headers)
    status = HTTP_STATUS[started.record.status]
    if query.only_result or started.record.result.startswith(b"["):
        return HttpResponse(status, started.record.result, headers)
    record = document_of(jsontext.loads(started.record.text))
    if not started.composed:
        record["logs"] = []  # a plain action's are in the stored record only
    return HttpResponse.of(record, status, headers)


async def fire(ask: HttpRequest, verbs: Services, namespace: str, name: str) -> HttpResponse:
    """Fire a trigger: 202, or 204 where no active rule is there to do anything."""
    identity = verbs.caller(ask)
    wanted = full_name(identity, namespace, name)
    verbs.controller.admit(identity, FIRE)
    verbs.triggers.check_rights(identity, wanted)
    ask.check_length(verbs.limits.max_payload_size)
    headers = {
        key.decode("latin-1"): value.decode("latin-1")
        for key, value in ask.headers
        if key != b"authorization"
    }
    given = await ask.payload(verbs.limits.max_payload_size)
    started = await verbs.controller.fire(identity, wanted, given, headers)
    if started is None:
        return HttpResponse(204, b"", content_type="")
    return HttpResponse.of({"activationId": started}, 202, ((ACTIVATION_ID, started),))


@lru_cache(maxsize=256)
def wanted_of(query: bytes) -> Wanted:
    """Read the query of an invoke; raises `BadRequest`."""
    given = parsed(query)
    return Wanted(flag(given, "blocking"), flag(given, "result"), _wait(given.get("timeout")))


def _wait(text: str | None) -> float:
    wait = LONGEST_WAIT if not text else whole(text, 31) or 0
    if not 1 <= wait <= LONGEST_WAIT:
        raise BadRequest(
            "The query parameter 'timeout' was malformed:\n"
            f"Timeout must be number of milliseconds up to {LONGEST_WAIT}."
        )
    return wait / 1000
