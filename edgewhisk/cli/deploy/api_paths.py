"""APIs of manifests: paths in front of web actions, as `wsk api create` makes them.

In a manifest: `apis: {NAME: {BASE_PATH: {PATH: {ACTION: {method: VERB, response: TYPE}}}}}`, or the verb.
In a plan each operation is an entity of its own, or a whole Swagger document is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgewhisk.cli.arguments import path_of
from edgewhisk.cli.client import ApiClient, ApiError
from edgewhisk.entity.api.swagger import RESPONSE_TYPES, VERBS, parameters_in

COLLECTION: Final = "apis"
_MANAGEMENT: Final = "/whisk.system/apimgmt"
_HOST: Final = "http://localhost"  # in URLs of web actions: the gateway looks at what is behind it


def slashed(path: str) -> str:
    """A path as APIs have it."""
    return path if path.startswith("/") else f"/{path}"


def operation(title: str, base: str, path: str, verb: str, action: str, response: str) -> dict[str, Any]:
    """What makes one operation; `action` is `x` or `pkg/x`. Raises `ValueError`."""
    if verb.lower() not in VERBS:
        raise ValueError(f"must have a method of {', '.join(VERBS)}, not {verb!r}")
    named = list(dict.fromkeys(parameters_in(path)))
    response = "http" if named else response
    if f".{response}" not in RESPONSE_TYPES:
        raise ValueError(f"must have a response of {', '.join(one[1:] for one in RESPONSE_TYPES)}")
    package, _, name = action.rpartition("/")
    url = f"{_HOST}/api/v1/web/_/{package or 'default'}/{name}.http"
    backend = {"name": action, "namespace": "_", "backendMethod": verb, "backendUrl": url, "authkey": "-"}
    described = [{"name": one, "in": "path", "required": True, "type": "string"} for one in named]
    apidoc: dict[str, Any] = {
        "namespace": "_", "apiName": title, "gatewayBasePath": base, "gatewayPath": path,
        "gatewayMethod": verb.upper(), "action": backend,
    }  # fmt: skip
    if described:
        apidoc["pathParameters"] = described
    return {"apidoc": apidoc, "responsetype": response}


def find(api: ApiClient, body: Mapping[str, Any]) -> Any:
    """What is there of an operation, or of a document; None if nothing is."""
    apidoc = body["apidoc"]
    swagger = apidoc.get("swagger")
    base = swagger["basePath"] if swagger else apidoc["gatewayBasePath"]
    found = _call(api, "getApi", {"basepath": base})["apis"]
    if not found:
        return None
    document = found[0]["value"]["apidoc"]
    return document if swagger else _operation_in(document, apidoc)


def is_as_wanted(api: ApiClient, body: Mapping[str, Any], found: Any) -> bool:
    """Whether what is there is what `body` makes."""
    apidoc = body["apidoc"]
    if "swagger" in apidoc:
        return bool(found == apidoc["swagger"])
    package, _, name = apidoc["action"]["name"].rpartition("/")
    own, execute = found["x-openwhisk"], found["execute"]
    alike = (own["package"], own["action"]) == (package, name) and found.get("parameters") == apidoc.get(
        "pathParameters"
    )
    sent = [step["set-variable"]["actions"][0]["value"] for step in execute if "set-variable" in step]
    secret = _secret(api, apidoc)
    return alike and own["url"].endswith(f".{body['responsetype']}") and sent == ([secret] if secret else [])


def make(api: ApiClient, body: Mapping[str, Any]) -> None:
    """Make an operation, which sends its action's secret, or a document."""
    apidoc = dict(body["apidoc"])
    if "action" in apidoc and (secret := _secret(api, apidoc)):
        apidoc["action"] = {**apidoc["action"], "secureKey": secret}
    _call(api, "createApi", {**body, "apidoc": apidoc})


def remove(api: ApiClient, body: Mapping[str, Any]) -> None:
    """Remove what `make` made."""
    apidoc = body["apidoc"]
    if "swagger" in apidoc:
        _call(api, "deleteApi", {"basepath": apidoc["swagger"]["basePath"]})
        return
    place = {"basepath": apidoc["gatewayBasePath"], "relpath": apidoc["gatewayPath"]}
    _call(api, "deleteApi", {**place, "operation": apidoc["gatewayMethod"]})


def _operation_in(document: Mapping[str, Any], apidoc: Mapping[str, Any]) -> Any:
    """An operation with what its API says of its way, or None."""
    item = document["paths"].get(apidoc["gatewayPath"], {})
    found = item.get(apidoc["gatewayMethod"].lower())
    if found is None or "x-openwhisk" not in found:
        return found
    steps = document.get("x-ibm-configuration", {}).get("assembly", {}).get("execute", [])
    cases = [case for step in steps for case in step.get("operation-switch", {}).get("case", [])]
    own = [case["execute"] for case in cases if found.get("operationId") in case["operations"]]
    return {**found, "execute": own[0] if own else []}


def _secret(api: ApiClient, apidoc: Mapping[str, Any]) -> Any:
    """The secret of the action, or nothing."""
    found = api.find(path_of(apidoc["action"]["name"], "actions")) or {}
    secrets = [one["value"] for one in found.get("annotations", []) if one["key"] == "require-whisk-auth"]
    return secrets[0] if secrets else None


def _call(api: ApiClient, name: str, parameters: Mapping[str, Any]) -> Any:
    try:
        return api.post(path_of(f"{_MANAGEMENT}/{name}", "actions"), parameters, blocking=True, result=True)
    except ApiError as error:
        told = error.body.get("error") if isinstance(error.body, dict) else None
        raise ApiError(str(told or error), status=error.code, body=error.body, hint=error.hint) from error
