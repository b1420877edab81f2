"""The OpenAPI 3.0 document of the REST API, made of the table of routes.

The schemas are written by hand, because what a route takes and gives is OpenWhisk's contract and not to be
guessed from code; `tests/api/test_openapi.py` holds the document against what is served.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from edgewhisk import __version__
from edgewhisk.api.handlers.web import PREFIX, VERBS
from edgewhisk.api.routes import ROUTES, ApiRoute

Json = dict[str, Any]

_TEXT: Final[Json] = {"type": "string"}
_NAME: Final[Json] = {"type": "string", "pattern": r"^(\w|\w[\w@ .&-]{0,254}[\w@.&-])$", "maxLength": 256}
_INTEGER: Final[Json] = {"type": "integer"}
_TIME: Final[Json] = {"type": "integer", "minimum": 0}
_BOOLEAN: Final[Json] = {"type": "boolean"}
_UNLESS_ASKED: Final[Json] = {"type": "boolean", "default": False}
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


QUERY: Final = {
    "limit": {"type": "integer", "minimum": 0, "maximum": 200, "default": 30},
    "skip": {"type": "integer", "minimum": 0, "default": 0},
    "timeout": {"type": "integer", "minimum": 1, "maximum": 60000},
    "code": {"type": "boolean", "default": True},
    **dict.fromkeys(("overwrite", "blocking", "result"), _UNLESS_ASKED),
    **dict.fromkeys(("count", "force", "docs"), _BOOLEAN),
    **dict.fromkeys(("since", "upto"), _TIME),
    "name": _TEXT,
}
_BODIES: Final = {
    "Text": _TEXT,
    "Object": _OBJECT,
    "Names": _list(_TEXT),
    "List": {"oneOf": [_list(_ref("Item")), _ref("Count")]},
}
MEANINGS: Final = {
    200: "Done.",
    202: "Started, or not yet ready.",
    204: "No active rule.",
    502: "The activation failed; its record or result.",
}
_PUBLIC: Final[Json] = {"security": []}


def _body(name: str, kind: str = "application/json") -> Json:
    return {"content": {kind: {"schema": _BODIES.get(name) or _ref(name)}}}


def _answer(meaning: str, schema: str) -> Json:
    kind = "text/plain" if schema == "Text" else "application/json"
    return {"description": meaning, **(_body(schema, kind) if schema else {})}


def _operation(route: ApiRoute) -> Json:
    meanings = {**MEANINGS, 200: "Found."} if route.public else MEANINGS
    answers = {str(status): _answer(meanings[status], schema) for status, schema in route.answers.items()}
    error = _answer("What is wrong, and the request's id.", "Error")
    found: Json = {"summary": route.summary, "responses": {**answers, "default": error}}
    if route.query:
        found["parameters"] = [_parameter(name, "query", QUERY[name]) for name in route.query.split()]
    if route.body:
        body = _body(route.body.rstrip("?"))
        found["requestBody"] = {"required": not route.body.endswith("?"), **body}
    return found | (_PUBLIC if route.public else {})


def _web() -> Json:
    any_answer = {"default": {"description": "What the action says."}}
    told = {"summary": "Call a web action.", **_PUBLIC, "responses": any_answer}
    return {verb.lower(): told for verb in VERBS}


def _names(path: str) -> Json:
    """What an item says of the names in its path."""
    found = [
        _parameter(name, "path", _TEXT if name in ("activation_id", "path") else _NAME, required=True)
        for name in re.findall(r"{(\w+)}", path)
    ]
    return {"parameters": found} if found else {}


@cache
def openapi() -> Json:
    """The document."""
    paths: dict[str, Json] = {f"{PREFIX}{{namespace}}/{{package}}/{{path}}": _web()}
    for route in ROUTES:
        if route.summary:
            item = paths.setdefault(route.path.replace("<", "{").replace(">", "}"), {})
            item[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.0.3",
        "info": {"title": "EdgeWhisk", "version": __version__, "description": "OpenWhisk's REST API."},
        "security": [{"basic": []}],
        "components": {
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
            "schemas": _schemas(),
        },
        "paths": {path: {**item, **_names(path)} for path, item in sorted(paths.items())},
    }
