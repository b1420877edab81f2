"""The APIs of all namespaces, made, read and deleted by the actions of `/whisk.system/apimgmt`.

`wsk api` and `wskdeploy` call these as web actions. Parameters, answers and texts are those of OpenWhisk's
route management; its API gateway (`gwUrl`, `accesstoken`, `spaceguid`) is this program, and the namespace is
that of who asks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from edgewhisk import jsontext
from edgewhisk.controller.entities import Entities
from edgewhisk.controller.system import SystemAction, each
from edgewhisk.entity.api import swagger
from edgewhisk.entity.api.api import Api, ApiResource, Routing
from edgewhisk.entity.api.openapi import openapi
from edgewhisk.entity.api.swagger import ApiEndpoint, Swagger
from edgewhisk.entity.identity import Identity
from edgewhisk.errors import BadRequest, EdgeWhiskError, shown
from edgewhisk.spi import Clock

PACKAGE: Final = "apimgmt"
MOST: Final = 100  # APIs of a namespace
LARGEST: Final = 1 << 20  # bytes of the documents of a namespace
TAKEN: Final = "v1"  # a namespace whose APIs would stand at the paths of the REST API
_UNUSED: Final = "Not Used"  # as OpenWhisk says it
_FAILED: Final = 502  # its status of what an API cannot be
_FORMATS: Final = ("apigw", "swagger", "openapi")

_Perform = Callable[[Identity, Mapping[str, Any]], Awaitable[dict[str, Any]]]


class Apis:
    """The collection, and who answers at which path."""

    def __init__(self, entities: Entities, clock: Clock, url: Callable[[], str]) -> None:
        """`url`: where this machine reaches the gateway; a client's own word for it counts more."""
        self._entities = entities
        self._clock = clock
        self._url = url
        self._routing: dict[str, Routing] = {}  # by namespace, made when somebody asks
        self._generation = -1  # of the entities, when that was made

    def find(self, namespace: str, path: str) -> tuple[Api, ApiResource, str] | None:
        """What is at a path below `/api/NAMESPACE`, and the rest of the path."""
        if self._generation != self._entities.generation:
            self._routing, self._generation = {}, self._entities.generation
        known = self._routing.get(namespace)
        if known is None:
            own = self._within(namespace)
            if not own:
                return None
            known = self._routing[namespace] = Routing(own)
        return known.find(path)

    def actions(self) -> list[SystemAction]:
        """The package `apimgmt`."""
        path = {
            "basepath": "base path or name of the API",
            "relpath": "path below it",
            "operation": "its verb",
        }
        made: list[tuple[str, str, Mapping[str, str], _Perform]] = [
            ("createApi", "Adds an operation to an API, or makes one of a Swagger document.",
             {"apidoc": "what to add", "responsetype": "json, http, html, text or svg"}, self._create),
            ("getApi", "Reads the APIs of a namespace.",
             {"basepath": path["basepath"], "limit": "how many", "skip": "how many to leave out before",
              "outputFormat": "swagger or openapi"}, self._get),
            ("deleteApi", "Deletes an API, a path of it, or one of its operations.", path, self._delete),
        ]  # fmt: skip
        return [
            SystemAction(PACKAGE, name, about, parameters, each(_answered(perform)), recorded=False, web=True)
            for name, about, parameters, perform in made
        ]

    async def _create(self, caller: Identity, given: Mapping[str, Any]) -> dict[str, Any]:
        apidoc = _object(given, "apidoc")
        _text(apidoc, "namespace", "apidoc is missing the namespace field")
        whole = _swagger(apidoc)
        added = ApiEndpoint.from_json(apidoc, caller.namespace) if whole is None else None
        kind = given.get("responsetype") or "json"
        if f".{kind}" not in swagger.RESPONSE_TYPES:
            raise BadRequest(f"responsetype is not one of {', '.join(swagger.RESPONSE_TYPES)}: {shown(kind)}")
        if caller.namespace == TAKEN:
            raise _creation(
                BadRequest(f"/api/{TAKEN} is the REST API: APIs need a namespace of another name")
            )
        async with self._entities.changing():
            try:
                base = whole["basePath"] if whole is not None else added.base_path if added else ""
                old = self._named(caller.namespace, base)
                if added is not None:
                    there = old.document if old else swagger.empty(added.base_path, added.title)
                    whole = swagger.added(there, added, kind)
                made = Api.of(caller.namespace, whole or {}, self._clock.now())
                self._check_room(made)
            except BadRequest as error:
                raise _creation(error) from None
            await self._entities.write(("apis", made.stored_as, made))
        return self._shown(made, given)

    async def _get(self, caller: Identity, given: Mapping[str, Any]) -> dict[str, Any]:
        wanted = given.get("basepath")
        found = self._within(caller.namespace)
        if isinstance(wanted, str) and wanted:
            found = [api for api in found if wanted == (api.base_path if wanted[0] == "/" else api.title)]
        form = given.get("outputFormat") or "swagger"
        if not isinstance(form, str) or form.lower() not in _FORMATS:
            raise BadRequest("Invalid outputFormat value. Valid values are: apigw, swagger")
        skip = _count(given, "skip", 0)
        shown_ = found[skip : skip + _count(given, "limit", MOST)]
        return {"apis": [{"id": _UNUSED, "key": _UNUSED, "value": self._shown(api, given)} for api in shown_]}

    async def _delete(self, caller: Identity, given: Mapping[str, Any]) -> dict[str, Any]:
        base = _text(given, "basepath", "basepath is required.")
        path, verb = given.get("relpath") or "", given.get("operation") or ""
        if not isinstance(path, str) or not isinstance(verb, str):
            raise BadRequest("relpath and operation must be text")
        if verb and not path:
            raise BadRequest("When specifying an operation, the path is required.")
        async with self._entities.changing():
            try:
                old = self._named(caller.namespace, base)
                if old is None:
                    raise BadRequest(f"API '{base}' does not exist.")
                left = swagger.removed(old.document, path, verb.lower()) if path else {}
                made = Api.of(caller.namespace, left, self._clock.now()) if left.get("paths") else None
            except BadRequest as error:
                raise BadRequest(f"API deletion failure: {error.message}") from None
            await self._entities.write(("apis", old.stored_as, made))
        return {}

    def _within(self, namespace: str) -> list[Api]:
        """Those of a namespace, by base path."""
        return sorted(self._entities.apis.within(namespace), key=lambda api: api.base_path)

    def _named(self, namespace: str, wanted: str) -> Api | None:
        """The API with a base path, or with a title."""
        if wanted.startswith("/"):
            return self._entities.apis.by_key.get(namespace + wanted)
        return next((api for api in self._within(namespace) if api.title == wanted), None)

    def _check_room(self, made: Api) -> None:
        others = [api for api in self._within(made.namespace) if api.base_path != made.base_path]
        if len(others) >= MOST:
            raise BadRequest(f"a namespace has at most {MOST} APIs; delete one (wsk api delete BASE_PATH)")
        size = made.size + sum(api.size for api in others)
        if size > LARGEST:
            raise BadRequest(
                f"the documents of a namespace's APIs have at most {LARGEST} bytes together, not {size}"
            )

    def _shown(self, api: Api, given: Mapping[str, Any]) -> dict[str, Any]:
        """An API as `wsk` takes it."""
        url = f"{self._origin(given)}/api/{quote(api.namespace)}{quote(api.base_path)}"
        form = given.get("outputFormat")
        as_openapi = isinstance(form, str) and form.lower() == "openapi"
        return {
            "namespace": _UNUSED,
            "gwApiActivated": True,
            "tenantId": _UNUSED,
            "gwApiUrl": url,
            "apidoc": openapi(api.document, url) if as_openapi else dict(api.document),
        }

    def _origin(self, given: Mapping[str, Any]) -> str:
        """Where the client reaches the gateway, by the headers of its request."""
        scheme, _, host = self._url().partition("://")
        headers = given.get("__ow_headers")
        told = headers if isinstance(headers, dict) else {}
        if told.get("x-forwarded-proto") in ("http", "https"):
            scheme = told["x-forwarded-proto"]
        heard = told.get("x-forwarded-host") or told.get("host")
        return f"{scheme}://{heard if isinstance(heard, str) else host}"


def _answered(perform: _Perform) -> _Perform:
    """The same; called as a web action, its result is an HTTP response, as in OpenWhisk."""

    async def performing(caller: Identity, given: Mapping[str, Any]) -> dict[str, Any]:
        if "__ow_method" not in given:
            return await perform(caller, given)
        try:
            return _response(200, await perform(caller, given))
        except BadRequest as error:
            return _response(_FAILED, {"error": error.message})

    return performing


def _response(status: int, body: dict[str, Any]) -> dict[str, Any]:
    return {"statusCode": status, "headers": {"Content-Type": "application/json"}, "body": body}


def _creation(error: EdgeWhiskError) -> BadRequest:
    return BadRequest(f"API creation failure: {error.message}")


def _object(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A parameter that is an object, or the text of one; raises `BadRequest`."""
    value = given.get(name)
    if not value:
        raise BadRequest(f"{name} is required.")
    if isinstance(value, str):
        try:
            value = jsontext.loads(value)
        except ValueError:
            raise BadRequest(f"{name} field cannot be parsed. Ensure it is valid JSON.") from None
    if not isinstance(value, dict):
        raise BadRequest(f"{name} field must be a JSON object or a JSON string, not {shown(value)}")
    return value


def _swagger(apidoc: Mapping[str, Any]) -> Swagger | None:
    """The whole document of an API, if that is given; raises `BadRequest`."""
    if not apidoc.get("swagger"):
        return None
    if apidoc.get("gatewayBasePath"):
        raise BadRequest(
            "swagger and gatewayBasePath are mutually exclusive and cannot be specified together."
        )
    document = _object(apidoc, "swagger")
    _text(document, "basePath", "swagger is missing the basePath field.")
    for field in ("paths", "info"):
        if not document.get(field):
            raise BadRequest(f"swagger is missing the {field} field.")
    return document


def _text(given: Mapping[str, Any], name: str, problem: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise BadRequest(problem)
    return value


def _count(given: Mapping[str, Any], name: str, usual: int) -> int:
    value = str(given.get(name, usual))
    if not value.isascii() or not value.isdigit():
        raise BadRequest(f"{name} must be a whole number, not {shown(given[name])}")
    return int(value[:9])
