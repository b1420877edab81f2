"""Web actions: `/api/v1/web/NAMESPACE/PACKAGE/ACTION.ext/path`, for anybody."""

from __future__ import annotations

from typing import Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.api.handlers.invoke import LONGEST_WAIT
from edgewhisk.api.http import ACTIVATION_ID, CORS, HttpRequest, HttpResponse, problem
from edgewhisk.api.services import Services
from edgewhisk.controller.controller import WEB
from edgewhisk.entity.activation import Record
from edgewhisk.entity.identity import SYSTEM_NAMESPACE
from edgewhisk.entity.invocation.message import Status
from edgewhisk.entity.names import FullyQualifiedName, entity_name, namespace_name
from edgewhisk.entity.web import WebAccess, WebRequest, arguments, response, split_extension
from edgewhisk.errors import BadRequest, EdgeWhiskError, NotFound, Unauthorized

PREFIX: Final = "/api/v1/web/"
VERBS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_DEFAULT: Final = "default"  # stands for "no package"
_METHODS: Final = "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH"
_REFUSED: Final = "Authentication is possible but has failed or not yet been provided."


class WebCall(NamedTuple):
    """A web action, how its result is read, and what is behind its name in the path."""

    action: FullyQualifiedName
    extension: str
    path: str  # "" or "/..."


async def serve(ask: HttpRequest, verbs: Services, path: str) -> HttpResponse:
    """Answer a request below `PREFIX`; `path` is the rest, decoded."""
    namespace, package, named, *rest = [*path.split("/", 3), "", "", ""][: 4 if path.count("/") > 2 else 3]
    if path.count("/") < 2:  # no path of an action: as any other that leads nowhere
        verbs.caller(ask)
    name, extension = split_extension(named)
    action = _action_name(namespace, package, name)
    return await call(ask, verbs, WebCall(action, extension, f"/{rest[0]}" if rest else ""))


async def call(ask: HttpRequest, verbs: Services, target: WebCall) -> HttpResponse:
    """Call a web action; raises `NotFound` where there is none."""
    wanted = target.action
    owner = verbs.subjects.find(wanted.namespace)
    if owner is None and wanted.namespace != SYSTEM_NAMESPACE:
        raise NotFound
    bound = verbs.actions.find_web(wanted)
    access = WebAccess.of(bound.action.annotations)
    if not access.exported:
        raise NotFound
    owner = owner or verbs.caller(ask)  # the gateway's own actions work for who calls them
    verbs.controller.admit(owner, WEB)
    ask.check_length(verbs.limits.max_payload_size)
    cors = () if access.own_options else _cors(ask)
    if ask.method == "OPTIONS" and not access.own_options:
        return HttpResponse(200, b"", cors, "")
    try:
        user = _user(ask, verbs)
        free = ask.method == "OPTIONS"
        if not free and not access.admits(ask.header(b"x-require-whisk-auth"), known=user is not None):
            raise Unauthorized(_REFUSED)
        found = WebRequest(
            ask.method,
            [(key.decode("latin-1"), value.decode("latin-1")) for key, value in ask.headers],
            target.path,
            ask.query.decode("latin-1"),
            await ask.read(verbs.limits.max_payload_size),
            user,
        )
        payload = arguments(found, raw=access.raw, final=bound.final)
        started = await verbs.controller.invoke(owner, wanted, payload, LONGEST_WAIT / 1000, WEB)
        cors += ((ACTIVATION_ID, started.activation_id),)
        if started.record is None:
            return problem("Response not yet ready.", 202, ask.id, dict(cors))
        return _answer(started.record, target.extension, ask.header(b"accept"), cors)
    except EdgeWhiskError as error:
        error.headers = cors
        raise


def _answer(
    record: Record, extension: str, accept: str, headers: tuple[tuple[str, str], ...]
) -> HttpResponse:
    result = jsontext.loads(record.result)
    if record.status is Status.APPLICATION_ERROR:
        result = result["error"]
    elif record.status is not Status.SUCCESS:
        raise BadRequest("There was an error processing your request.")
    made = response(result, extension, accept)
    return HttpResponse(made.status, made.body, headers + made.headers, made.content_type)


def _action_name(namespace: str, package: str, name: str) -> FullyQualifiedName:
    """Nothing can be at a path with illegal names."""
    try:
        inside = None if package == _DEFAULT else entity_name(package)
        return FullyQualifiedName(namespace_name(namespace), inside, entity_name(name))
    except BadRequest:
        raise NotFound from None


def _user(ask: HttpRequest, verbs: Services) -> str | None:
    """The caller's namespace; wrong credentials count as none."""
    given = ask.header(b"authorization")
    try:
        return verbs.subjects.authorize(given).namespace if given else None
    except Unauthorized:
        return None


def _cors(ask: HttpRequest) -> tuple[tuple[str, str], ...]:
    asked_for = ask.header(b"access-control-request-headers")
    return (
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Methods", _METHODS),
        ("Access-Control-Allow-Headers", asked_for or CORS["Access-Control-Allow-Headers"]),
    )
