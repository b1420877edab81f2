"""A Swagger 2.0 document of an API as OpenAPI 3.0. Pure.

Follows the table of what changed between the two (OpenAPI Initiative, "Upgrading from OpenAPI 2.0 to 3.0").
Where operations lead, and which keys are good, is the gateway's own and left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from edgewhisk.entity.api.api import KEYS
from edgewhisk.entity.api.swagger import VERBS

_SCHEMA: Final = frozenset({
    "type", "format", "items", "default", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum",
    "maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "multipleOf", "enum", "$ref",
})  # fmt: skip
_ABOUT: Final = ("name", "in", "description", "required")
_OPERATION: Final = ("operationId", "summary", "description", "tags", "deprecated", "security")
_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"
_PLACES: Final = ("path", "query", "header")


def openapi(document: Mapping[str, Any], url: str) -> dict[str, Any]:
    """The document of an API that is reached at `url`; what is odd in it is left out."""
    components = {
        "schemas": _references(_dict(document.get("definitions"))),
        "securitySchemes": {
            name: {key: value for key, value in _dict(one).items() if key != KEYS}
            for name, one in _dict(document.get("securityDefinitions")).items()
        },
    }
    made: dict[str, Any] = {
        "openapi": "3.0.3",
        "info": {"title": "", "version": "1.0.0"} | _dict(document.get("info")),
        "servers": [{"url": url.rstrip("/") or "/"}],
        "paths": {path: _item(_dict(item)) for path, item in _dict(document.get("paths")).items()},
    }
    used = {name: value for name, value in components.items() if value}
    if used:
        made["components"] = used
    if schemes := components["securitySchemes"]:
        made["security"] = [{name: []} for name in schemes]
    return made


def _item(item: Mapping[str, Any]) -> dict[str, Any]:
    shared = _dicts(item.get("parameters"))
    return {verb: _operation(_dict(item[verb]), shared) for verb in VERBS if verb in item}


def _operation(operation: Mapping[str, Any], shared: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    given = [*shared, *_dicts(operation.get("parameters"))]
    made = {key: operation[key] for key in _OPERATION if key in operation}
    if parameters := [_parameter(one) for one in given if one.get("in") in _PLACES]:
        made["parameters"] = parameters
    if content := _content(given):
        made["requestBody"] = {"content": content}
    answers = _dict(operation.get("responses")) or {"default": {"description": "Default response"}}
    made["responses"] = {status: _response(_dict(one)) for status, one in answers.items()}
    return made


def _parameter(one: Mapping[str, Any]) -> dict[str, Any]:
    return {key: one[key] for key in _ABOUT if key in one} | {"schema": _schema(one)}


def _content(given: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What the body of a request is: a schema, or the fields of a form."""
    for one in given:
        if one.get("in") == "body":
            return {_JSON: {"schema": _references(_dict(one.get("schema")))}}
    fields = {str(one.get("name")): _schema(one) for one in given if one.get("in") == "formData"}
    return {_FORM: {"schema": {"type": "object", "properties": fields}}} if fields else {}


def _response(one: Mapping[str, Any]) -> dict[str, Any]:
    about = one.get("description")
    made: dict[str, Any] = {"description": about if isinstance(about, str) else ""}
    if "schema" in one:
        made["content"] = {_JSON: {"schema": _references(_dict(one["schema"]))}}
    return made


def _schema(one: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = _references({key: value for key, value in one.items() if key in _SCHEMA})
    return found or {"type": "string"}


def _references(value: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which references lead to where schemas are now; however deep it is."""
    made: dict[str, Any] = {}
    left: list[tuple[Any, Any]] = [(value, made)]
    while left:
        source, copy = left.pop()
        for key, one in source.items() if isinstance(source, Mapping) else enumerate(source):
            if isinstance(one, dict | list):
                inner: Any = {} if isinstance(one, dict) else [None] * len(one)
                left.append((one, inner))
                copy[key] = inner
            elif key == "$ref" and isinstance(one, str):
                copy[key] = one.replace("#/definitions/", "#/components/schemas/", 1)
            else:
                copy[key] = one
    return made


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
