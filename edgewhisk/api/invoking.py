"""Routes that start something: invoking actions and firing triggers."""

from __future__ import annotations

from typing import Final

import orjson
from quart import Blueprint, Response, request

from edgewhisk.api.reading import ACTIVATION_ID, answer, caller, flag, full_name, payload, services
from edgewhisk.entity.activation import document_of
from edgewhisk.entity.message import Status
from edgewhisk.errors import BadRequest

invoking = Blueprint("invoking", __name__, url_prefix="/api/v1/namespaces/<namespace>")

LONGEST_WAIT: Final = 60_000  # ms that a blocking invoke waits before it answers 202
_HTTP_STATUS: Final = {
    Status.SUCCESS: 200,
    Status.APPLICATION_ERROR: 502,
    Status.DEVELOPER_ERROR: 502,
    Status.WHISK_ERROR: 500,
}


@invoking.post("/actions/<name>")
@invoking.post("/actions/<package>/<name>")
async def invoke(namespace: str, name: str, package: str | None = None) -> Response:
    """Invoke an action, waiting for its result with `blocking=true`."""
    identity = caller()
    wanted = full_name(identity, namespace, name, package)
    services().controller.admit(identity)
    blocking, only_result, wait = flag("blocking"), flag("result"), _wait()
    given = await payload()
    started = await services().controller.invoke(identity, wanted, given, wait if blocking else None)
    headers = {ACTIVATION_ID: started.activation_id}
    if started.record is None or not blocking:
        return answer({"activationId": started.activation_id}, 202, headers)
    record = document_of(orjson.loads(started.record))
    response = record["response"]
    status = _HTTP_STATUS[Status(response["status"])]
    if only_result or isinstance(response["result"], list):
        return answer(response["result"], status, headers)
    return answer({**record, "logs": []}, status, headers)


@invoking.post("/triggers/<name>")
async def fire(namespace: str, name: str) -> Response:
    """Fire a trigger: 202, or 204 where no active rule is there to do anything."""
    identity = caller()
    wanted = full_name(identity, namespace, name)
    services().controller.admit(identity, fire=True)
    headers = {key.lower(): value for key, value in request.headers.items() if key.lower() != "authorization"}
    started = await services().controller.fire(identity, wanted, await payload(), headers)
    if started is None:
        return Response(status=204)
    return answer({"activationId": started}, 202, {ACTIVATION_ID: started})


def _wait() -> float:
    """Seconds that `timeout` of the query asks for; raises `BadRequest`."""
    text = request.args.get("timeout")
    try:
        wait = LONGEST_WAIT if text is None else int(text)
    except ValueError:
        wait = 0
    if not 1 <= wait <= LONGEST_WAIT:
        raise BadRequest(
            "The query parameter 'timeout' was malformed:\n"
            f"Timeout must be number of milliseconds up to {LONGEST_WAIT}."
        )
    return wait / 1000
