"""The Swagger 2.0 document of an API, as `wsk api` makes, changes and reads it. Pure.

Shapes and texts are those of OpenWhisk's route management (core/routemgmt), which clients read and compare.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.entity.names import DEFAULT_NAMESPACE, segments
from edgewhisk.entity.web import EXTENSIONS
from edgewhisk.errors import BadRequest, shown

Swagger = dict[str, Any]
VERBS: Final = ("get", "put", "post", "delete", "patch", "head", "options")
WHOLE_PATH: Final = "$(request.path)"  # behind the URL of a web action: it gets the path of the request
_AUTH: Final = "message.headers.X-Require-Whisk-Auth"
NO_PACKAGE: Final = "default"
RESPONSE_TYPES: Final = EXTENSIONS
# 'https://http://HOST' is what wskdeploy makes of an apihost with a scheme
_URL: Final = re.compile(r"(https?://\S+?)/api/v\d+/web/[^/]+/[^/]+/.+", re.IGNORECASE)
_PARAMETER: Final = re.compile(r"\{([^/]+)\}")
_WORD: Final = re.compile(r"[0-9A-Za-z_]\S*")
_NO_WORD: Final = re.compile(r"[^0-9A-Za-z_-]")


class ApiEndpoint(NamedTuple):
    """One operation that `wsk api create` adds, and the web action behind it."""

    title: str  # of the API, if a new one is made; may be empty
    base_path: str  # or the title of an API that there is
    path: str
    verb: str  # lower case
    host: str  # "https://host", as the client knows this gateway
    namespace: str
    package: str  # or nothing
    action: str
    secret: Any  # the action's `require-whisk-auth`; None: it has none
    parameters: Any  # of the path, in Swagger's words; None: not told

    @classmethod
    def from_json(cls, apidoc: Mapping[str, Any], namespace: str) -> ApiEndpoint:
        """Read the `apidoc` of a request of `namespace`; raises `BadRequest` with OpenWhisk's texts."""
        for field in ("gatewayBasePath", "gatewayPath", "gatewayMethod"):
            _required(apidoc, field, f"apidoc is missing the {field} field")
        action = apidoc.get("action")
        if not isinstance(action, dict):
            raise BadRequest("apidoc is missing the action field.")
        for field in ("backendMethod", "backendUrl", "namespace", "name", "authkey"):
            _required(action, field, f"action is missing the {field} field.")
        url = _URL.fullmatch(action["backendUrl"])
        if url is None:
            raise BadRequest(
                f"action.backendUrl is not the URL of a web action: {shown(action['backendUrl'])}"
            )
        verb = apidoc["gatewayMethod"].lower()
        if verb not in VERBS:
            raise BadRequest(f"gatewayMethod must be one of {', '.join(VERBS)}, not {shown(verb)}")
        given, name = action["namespace"], segments(action["name"])
        if not 1 <= len(name) <= 3:
            raise BadRequest(f"action.name is no name of an action: {shown(action['name'])}")
        title = apidoc.get("apiName") or ""
        return cls(
            title if isinstance(title, str) else "",
            apidoc["gatewayBasePath"],
            apidoc["gatewayPath"],
            verb,
            url[1],
            namespace if given == DEFAULT_NAMESPACE else given,
            name[-2] if len(name) > 1 else "",
            name[-1],
            action.get("secureKey") or None,
            apidoc.get("pathParameters"),
        )


def empty(base_path: str, title: str) -> Swagger:
    """An API without operations."""
    return {
        "swagger": "2.0",
        "info": {"title": title or base_path, "version": "1.0.0"},
        "basePath": base_path,
        "paths": {},
        "x-ibm-configuration": {"assembly": {}, "cors": {"enabled": True}},
    }


def added(document: Mapping[str, Any], endpoint: ApiEndpoint, response_type: str) -> Swagger:
    """A copy with one operation more, or another in its place; `response_type`: "json", "http" ..."""
    made: Swagger = jsontext.loads(jsontext.dumps(document))
    name = _free_id(made, endpoint)
    package = endpoint.package or NO_PACKAGE
    url = f"{endpoint.host}/api/v1/web/{endpoint.namespace}/{package}/{endpoint.action}.{response_type}"
    _inner(made, "paths", endpoint.path)[endpoint.verb] = {
        "operationId": name,
        **({"parameters": endpoint.parameters} if endpoint.parameters is not None else {}),
        "x-openwhisk": {
            "url": url,
            "namespace": endpoint.namespace,
            "package": endpoint.package,
            "action": endpoint.action,
        },
        "responses": {"default": {"description": "Default response"}},
    }
    target = url + WHOLE_PATH if response_type == "http" else url
    execute: list[Any] = [{"invoke": {"target-url": target, "verb": "keep"}}]
    if endpoint.secret is not None:
        variable = {"set": _AUTH, "value": endpoint.secret}
        execute.append({"set-variable": {"actions": [variable]}})
    kept = [case for case in cases(made) if name not in case["operations"]]
    _set_cases(made, [*kept, {"operations": [name], "execute": execute}])
    return made


def removed(document: Mapping[str, Any], path: str, verb: str) -> Swagger:
    """A copy without an operation, or, if `verb` is empty, without a path; raises `BadRequest`."""
    made: Swagger = jsontext.loads(jsontext.dumps(document))
    there = made["paths"].get(path)
    if not isinstance(there, dict):
        raise BadRequest(
            f"path '{path}' with operation '{verb}' does not exist in the API"
            if verb
            else f"path '{path}' does not exist in the API"
        )
    if verb and verb not in there:
        raise BadRequest(f"path '{path}' with operation '{verb}' does not exist in the API")
    gone = {
        operation["operationId"]
        for of, one, operation in operations(made)
        if of == path and verb in ("", one) and isinstance(operation.get("operationId"), str)
    }
    if verb:
        del there[verb]
    if not verb or not there:
        del made["paths"][path]
    _set_cases(made, [case for case in cases(made) if gone.isdisjoint(case["operations"])])
    return made


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, verb and what is said of it, of all operations; raises `BadRequest`."""
    for path, item in _object(document.get("paths"), "paths").items():
        for verb, operation in _object(item, f"paths.{path}").items():
            if verb in VERBS:
                yield path, verb, _object(operation, f"paths.{path}.{verb}")


def cases(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the gateway's configuration in the document says of operations; raises `BadRequest`."""
    found: list[dict[str, Any]] = []
    for step in steps(document):
        switch = step.get("operation-switch")
        if switch is not None:
            where = "operation-switch.case"
            found += [_case(one) for one in listed(_object(switch, "operation-switch").get("case"), where)]
    return found


def steps(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The steps of `assembly.execute` of the gateway's configuration, none if there is none."""
    assembly = _object(configuration(document).get("assembly", {}), "assembly")
    return listed(assembly.get("execute", []), "assembly.execute")


def configuration(document: Mapping[str, Any]) -> dict[str, Any]:
    """The extension that says where operations lead; raises `BadRequest`."""
    name = "x-gateway-configuration" if "x-gateway-configuration" in document else "x-ibm-configuration"
    return _object(document.get(name, {}), name)


def listed(value: object, where: str) -> list[dict[str, Any]]:
    """A list of objects; raises `BadRequest`."""
    if not isinstance(value, list):
        raise BadRequest(f"{where} must be a list, not {shown(value)}")
    return [_object(one, where) for one in value]


def parameters_in(path: str) -> list[str]:
    """The names of a path's parameters: `/a/{b}` has `b`."""
    return _PARAMETER.findall(path)


def check_parameters(document: Mapping[str, Any]) -> None:
    """Raise `BadRequest` unless each path parameter is described, and reaches its action."""
    base = document["basePath"]
    if parameters_in(base):
        raise BadRequest(
            f"The base path ({base}) cannot have parameters. Only the relative path supports path parameters."
        )
    targets = {name: url for case in cases(document) for name, url in _targets(case)}
    for path, _, operation in operations(document):
        if not parameters_in(path):
            continue
        url = (
            operation.get("x-openwhisk", {}).get("url")
            if isinstance(operation.get("x-openwhisk"), dict)
            else ""
        )
        if isinstance(url, str) and url and not url.endswith(".http"):
            raise BadRequest(
                "The action must use a response type of '.http' in order to receive the path parameters."
            )
        name = operation.get("operationId")
        target = targets.get(name) if isinstance(name, str) else None
        if target and not target.endswith(f".http{WHOLE_PATH}"):
            raise BadRequest(
                f"The target-url for operationId '{name}' must end in '{WHOLE_PATH}' in order for actions to "
                "receive the path parameters."
            )
        _check_described(document["paths"][path], path, operation)


def operation_id(verb: str, path: str) -> str:
    """`get` and `/club/{book}` make `getClubBook`."""
    words = _WORD.sub(lambda word: word[0].capitalize(), _NO_WORD.sub(" ", path))
    return verb.lower() + words.replace(" ", "")


def _free_id(document: Mapping[str, Any], endpoint: ApiEndpoint) -> str:
    """An id that no other operation has: `/a/b` and `/a.b` would share one, and so the action."""
    place = (endpoint.path, endpoint.verb)
    taken = {
        shown(operation.get("operationId"))
        for path, verb, operation in operations(document)
        if (path, verb) != place
    }
    name = operation_id(endpoint.verb, endpoint.path)
    while shown(name) in taken:
        name += "_"
    return name


def _check_described(item: Mapping[str, Any], path: str, operation: Mapping[str, Any]) -> None:
    described: set[object] = set()
    for parameters in (item.get("parameters", []), operation.get("parameters", [])):
        described |= {shown(one.get("name")) for one in listed(parameters, f"paths.{path}: parameters")}
    for name in parameters_in(path):
        if shown(name) not in described:
            raise BadRequest(
                f"The parameter '{name}' defined in path '{path}' does not match any of the parameters "
                "defined for the path in the swagger file."
            )


def _targets(case: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for step in case["execute"]:
        invoke = step.get("invoke")
        if isinstance(invoke, dict) and isinstance(invoke.get("target-url"), str):
            for name in case["operations"]:
                yield name, invoke["target-url"]


def _case(value: dict[str, Any]) -> dict[str, Any]:
    names = value.get("operations")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadRequest(f"operation-switch.case.operations must be a list of texts, not {shown(names)}")
    return value | {"execute": listed(value.get("execute"), "operation-switch.case.execute")}


def _set_cases(document: Swagger, found: list[dict[str, Any]]) -> None:
    """Put all cases into the first step, as OpenWhisk does."""
    rest = [step for step in steps(document) if "operation-switch" not in step]
    name = "x-gateway-configuration" if "x-gateway-configuration" in document else "x-ibm-configuration"
    _inner(document, name, "assembly")["execute"] = [{"operation-switch": {"case": found}}, *rest]


def _inner(document: Swagger, *names: str) -> dict[str, Any]:
    for name in names:
        document = _object(document.setdefault(name, {}), name)
    return document


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest(f"{where} must be an object, not {shown(value)}")
    return value


def _required(value: Mapping[str, Any], field: str, problem: str) -> None:
    if not isinstance(value.get(field), str) or not value[field]:
        raise BadRequest(problem)
