"""The OpenAPI 3.0 document of the REST API. Pure.

Written by hand, because what a route takes and gives is OpenWhisk's contract and not to be guessed
from code; `tests/api/test_openapi.py` holds it against the routes that are served.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from edgewhisk import __version__

Json = dict[str, Any]

_TEXT: Final[Json] = {"type": "string"}
_NAME: Final[Json] = {"type": "string", "pattern": r"^(\w|\w[\w@ .&-]{0,254}[\w@.&-])$", "maxLength": 256}
_INTEGER: Final[Json] = {"type": "integer"}
_TIME: Final[Json] = {"type": "integer", "minimum": 0}
_BOOLEAN: Final[Json] = {"type": "boolean"}
_OBJECT: Final[Json] = {"type": "object"}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(item: Json) -> Json:
    return {"type": "array", "items": item}


def _schema(required: str, **properties: Json) -> Json:
    document: Json = {"type": "object", "properties": properties}
    return {**document, "required": required.split()} if required else document


def _put(**properties: Json) -> Json:
    """A body whose keys may all be missing or null, as clients send them."""
    return _schema("", **{key: {**value, "nullable": True} if "$ref" not in value else value
                          for key, value in properties.items()})  # fmt: skip


_ENTITY: Final[dict[str, Json]] = {
    "namespace": _TEXT, "name": _TEXT, "version": _TEXT, "publish": _BOOLEAN, "updated": _INTEGER,
    "annotations": _ref("Parameters"),
}  # fmt: skip
_COMMON: Final = "namespace name version publish updated annotations"
_PUT_COMMON: Final[dict[str, Json]] = {
    "version": _TEXT, "publish": _BOOLEAN,
    "annotations": {"type": "array", "items": _ref("Parameter")},
}  # fmt: skip
_PARAMETERS: Final[Json] = {"type": "array", "items": _ref("Parameter")}
_REFERENCE: Final[Json] = _schema("path name", path=_TEXT, name=_TEXT)


def _schemas() -> dict[str, Json]:
    limits = _schema("timeout memory logs concurrency", timeout=_INTEGER, memory=_INTEGER, logs=_INTEGER,
                     concurrency=_INTEGER)  # fmt: skip
    executable = _schema("kind", kind=_TEXT, code=_TEXT, main=_TEXT, binary=_BOOLEAN, components=_list(_TEXT))
    response = _schema("result success status", result={}, success=_BOOLEAN, status=_TEXT, size=_INTEGER)
    activation = _schema(
        "namespace name version subject activationId start response logs annotations publish",
        namespace=_TEXT, name=_TEXT, version=_TEXT, subject=_TEXT, activationId=_TEXT, start=_INTEGER,
        end=_INTEGER, duration=_INTEGER, cause=_TEXT, response=_ref("Response"), logs=_list(_TEXT),
        annotations=_ref("Parameters"), publish=_BOOLEAN,
    )  # fmt: skip
    return {
        "Error": _schema("error code", error=_TEXT, code=_TEXT),
        "Parameter": _schema("key", key=_TEXT, value={"nullable": True}, init=_BOOLEAN),
        "Parameters": _list(_ref("Parameter")),
        "Limits": limits,
        "Exec": executable,
        "Response": response,
        "Action": _schema(f"{_COMMON} exec parameters limits", **_ENTITY, exec=_ref("Exec"),
                          parameters=_ref("Parameters"), limits=_ref("Limits")),
        "ActionPut": _put(**_PUT_COMMON, exec=executable, parameters=_PARAMETERS,
                          limits=_schema("", timeout=_INTEGER, memory=_INTEGER, logs=_INTEGER),
                          delAnnotations=_list(_TEXT)),
        "Trigger": _schema(f"{_COMMON} parameters limits", **_ENTITY, parameters=_ref("Parameters"),
                           limits=_OBJECT, rules=_OBJECT),
        "TriggerPut": _put(**_PUT_COMMON, parameters=_PARAMETERS),
        "Rule": _schema(f"{_COMMON} trigger action", **_ENTITY, trigger=_REFERENCE, action=_REFERENCE,
                        status=_TEXT),
        "RulePut": _put(**_PUT_COMMON, trigger=_TEXT, action=_TEXT),
        "RuleStatus": _schema("status", status={"type": "string", "enum": ["active", "inactive"]}),
        "Package": _schema(f"{_COMMON} parameters binding", **_ENTITY, parameters=_ref("Parameters"),
                           binding={},
                           actions=_list(_OBJECT), feeds=_list(_OBJECT)),
        "PackagePut": _put(**_PUT_COMMON, parameters=_PARAMETERS, binding=_OBJECT),
        "Activation": activation,
        "ActivationId": _schema("activationId", activationId=_TEXT),
        "Count": {"type": "object", "additionalProperties": _INTEGER},
        "Item": _OBJECT,
        "Logs": _schema("logs", logs=_list(_TEXT)),
    }  # fmt: skip


def _parameter(name: str, where: str, schema: Json, *, required: bool = False) -> Json:
    return {"name": name, "in": where, "required": required, "schema": schema}


_PAGE: Final = [
    _parameter("limit", "query", {"type": "integer", "minimum": 0, "maximum": 200, "default": 30}),
    _parameter("skip", "query", {"type": "integer", "minimum": 0, "default": 0}),
    _parameter("count", "query", _BOOLEAN),
]
_OVERWRITE: Final = _parameter("overwrite", "query", {"type": "boolean", "default": False})
_INVOKE: Final = [
    _parameter("blocking", "query", {"type": "boolean", "default": False}),
    _parameter("result", "query", {"type": "boolean", "default": False}),
    _parameter("timeout", "query", {"type": "integer", "minimum": 1, "maximum": 60000}),
]


def _answer(meaning: str, schema: Json | None = None, kind: str = "application/json") -> Json:
    return (
        {"description": meaning, "content": {kind: {"schema": schema}}}
        if schema
        else {"description": meaning}
    )


_DEFAULT: Final = {"default": _answer("What is wrong, and the request's id.", _ref("Error"))}


def _operation(
    summary: str,
    schema: Json | None,
    query: list[Json] | None = None,
    body: str = "",
    *,
    required: bool = True,
    **more: Json,
) -> Json:
    """One operation; `more` adds answers by status: `s202`."""
    found: Json = {"summary": summary, "responses": {"200": _answer("Done.", schema), **_DEFAULT}}
    found["responses"].update({status[1:]: answer for status, answer in more.items()})
    if query:
        found["parameters"] = query
    if body:
        content = {"application/json": {"schema": _ref(body) if body != "Object" else _OBJECT}}
        found["requestBody"] = {"required": required, "content": content}
    return found


def _entity_paths(plural: str, name: str, query: list[Json] | None = None) -> dict[str, Json]:
    """The routes that all collections have."""
    listing = {"oneOf": [_list(_ref("Item")), _ref("Count")]}
    removal = [_parameter("force", "query", _BOOLEAN)] if plural == "packages" else None
    return {
        f"/namespaces/{{namespace}}/{plural}": {"get": _operation(f"List {plural}.", listing, _PAGE)},
        f"/namespaces/{{namespace}}/{plural}/{{name}}": {
            "get": _operation(f"Read one of the {plural}.", _ref(name), query),
            "put": _operation(
                f"Create or update one of the {plural}.", _ref(name), [_OVERWRITE], f"{name}Put"
            ),
            "delete": _operation(f"Delete one of the {plural}.", _ref(name), removal),
        },
    }


def _paths() -> dict[str, Json]:
    code = [_parameter("code", "query", {"type": "boolean", "default": True})]
    found = {**_entity_paths("actions", "Action", code), **_entity_paths("packages", "Package"),
             **_entity_paths("triggers", "Trigger"), **_entity_paths("rules", "Rule")}  # fmt: skip
    started = _answer("Started, or not yet ready.", _ref("ActivationId"))
    result = _answer("The activation failed; its record or result.", {})
    invoke = _operation("Invoke an action.", {}, _INVOKE, "Object", required=False, s202=started, s502=result)
    action = "/namespaces/{namespace}/actions/{name}"
    found[action]["post"] = invoke
    packaged = "/namespaces/{namespace}/actions/{package}/{name}"
    found[packaged] = found[action]
    listing = {"oneOf": [_list(_ref("Item")), _ref("Count")]}
    found["/namespaces/{namespace}/actions/{package}/"] = {
        "get": _operation("List a package.", listing, _PAGE)
    }
    found["/namespaces/{namespace}/triggers/{name}"]["post"] = {
        **_operation("Fire a trigger.", None, None, "Object", required=False),
        "responses": {"202": started, "204": _answer("No active rule."), **_DEFAULT},
    }
    found["/namespaces/{namespace}/rules/{name}"]["post"] = {
        **_operation("Enable or disable a rule.", None, None, "RuleStatus"),
        "responses": {"200": _answer("Done.", _TEXT, "text/plain"), **_DEFAULT},
    }
    activations = "/namespaces/{namespace}/activations"
    filters = [
        *_PAGE, _parameter("name", "query", _TEXT), _parameter("since", "query", _TIME),
        _parameter("upto", "query", _TIME), _parameter("docs", "query", _BOOLEAN),
    ]  # fmt: skip
    found[activations] = {"get": _operation("List activations, newest first.", listing, filters)}
    found[f"{activations}/{{activation_id}}"] = {
        "get": _operation("Read one activation.", _ref("Activation"))
    }
    found[f"{activations}/{{activation_id}}/result"] = {"get": _operation("Its result.", _ref("Response"))}
    found[f"{activations}/{{activation_id}}/logs"] = {"get": _operation("Its logs.", _ref("Logs"))}
    found["/namespaces"] = {"get": _operation("The caller's namespace.", _list(_TEXT))}
    found["/namespaces/{namespace}/limits"] = {"get": _operation("What a namespace may do.", _OBJECT)}
    return found


def _web() -> Json:
    any_answer = {"default": {"description": "What the action says."}}
    verbs = ("get", "put", "post", "delete", "options", "head", "patch")
    return {
        verb: {"summary": "Call a web action.", "security": [], "responses": any_answer} for verb in verbs
    }


def _named(path: str, item: Json) -> Json:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    found = [
        _parameter(name, "path", _TEXT if name in ("activation_id", "path") else _NAME, required=True)
        for name in names
    ]
    return {**item, "parameters": found} if found else item


@cache
def openapi() -> Json:
    """The document."""
    paths: dict[str, Json] = {f"/api/v1{path}": item for path, item in _paths().items()}
    paths["/api/v1/web/{namespace}/{package}/{path}"] = _web()
    for path, summary, kind in (
        ("/", "About this OpenWhisk.", "application/json"),
        ("/ping", "Liveness.", "text/plain"),
        ("/metrics", "Counters for Prometheus.", "text/plain"),
        ("/api/v1", "About this API.", "application/json"),
        ("/api/v1/api-docs", "This document.", "application/json"),
    ):
        paths[path] = {"get": {**_operation(summary, None), "security": []}}
        paths[path]["get"]["responses"]["200"] = _answer("Found.", {} if "json" in kind else _TEXT, kind)
    return {
        "openapi": "3.0.3",
        "info": {"title": "EdgeWhisk", "version": __version__, "description": "OpenWhisk's REST API."},
        "security": [{"basic": []}],
        "components": {
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
            "schemas": _schemas(),
        },
        "paths": {path: _named(path, item) for path, item in sorted(paths.items())},
    }
