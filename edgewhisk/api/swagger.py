"""The Swagger 2.0 document of the REST API, which OpenWhisk's own tools read at `/api/v1/api-docs`.

It is made of the table of routes. The definitions have the names and properties of OpenWhisk's, because tools
ask for them by name: `Action` is what is read, `ActionMeta` what is listed, `ActionPut` what is sent.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from edgewhisk import __version__
from edgewhisk.api.handlers.web import PREFIX, VERBS
from edgewhisk.api.openapi import MEANINGS, QUERY
from edgewhisk.api.routes import ROUTES, ApiRoute

Json = dict[str, Any]

_BASE: Final = "/api/v1"
_TEXT: Final[Json] = {"type": "string"}
_SOME: Final[Json] = {"type": "string", "minLength": 1}
_INTEGER: Final[Json] = {"type": "integer"}
_BOOLEAN: Final[Json] = {"type": "boolean"}
_OBJECT: Final[Json] = {"type": "object"}
_LISTED: Final = {  # last word of a list's path -> what its items are
    "actions": "ActionMeta",
    "<package>": "ActionMeta",
    "packages": "Package",
    "triggers": "TriggerMeta",
    "rules": "RuleMeta",
    "activations": "ActivationBrief",
}
_NAMED: Final = {"Response": "ActivationResult", "Logs": "ActivationLogs"}


def _ref(name: str) -> Json:
    return {"$ref": f"#/definitions/{name}"}


def _list(item: Json) -> Json:
    return {"type": "array", "items": item}


def _schema(required: str, properties: Json) -> Json:
    document: Json = {"type": "object", "properties": properties}
    return {**document, "required": required.split()} if required else document


_PAIRS: Final = _list(_ref("KeyValue"))
_BRIEF: Final = "namespace name version publish"
_ENTITY: Final[Json] = {"namespace": _SOME, "name": _SOME, "version": _SOME, "publish": _BOOLEAN}
_META: Final[Json] = {**_ENTITY, "annotations": _PAIRS, "updated": _INTEGER}
_FULL: Final[Json] = {**_META, "parameters": _PAIRS}
_PUT: Final[Json] = {**_ENTITY, "annotations": _PAIRS}
_NAME: Final = _schema("name", {"name": _SOME})


def _actions() -> dict[str, Json]:
    executable = {"kind": _TEXT, "code": _TEXT, "image": _TEXT, "main": _TEXT, "binary": _BOOLEAN,
                  "components": _list(_TEXT)}  # fmt: skip
    limits, put = {"limits": _ref("ActionLimits")}, {"exec": _ref("ActionExec"), "parameters": _PAIRS}
    return {
        "ActionLimits": _schema("", dict.fromkeys(
            ("timeout", "memory", "logs", "concurrency", "instances"), _INTEGER)),
        "ActionExec": _schema("", executable),
        "ActionExecMeta": _schema("", {"binary": _BOOLEAN}),
        "ActionPayload": _OBJECT,
        "Action": _schema(f"{_BRIEF} exec limits", {**_FULL, **limits, "exec": _ref("ActionExec")}),
        "ActionMeta": _schema(f"{_BRIEF} exec limits", {**_META, **limits, "exec": _ref("ActionExecMeta")}),
        "ActionPut": _schema("", {**_PUT, **put, **limits, "delAnnotations": _list(_TEXT)}),
    }  # fmt: skip


def _others() -> dict[str, Json]:
    ends = {"trigger": _ref("PathName"), "action": _ref("PathName")}
    status = {"type": "string", "enum": ["active", "inactive", ""]}
    inside = _schema("name version", {"name": _SOME, "version": _SOME, "annotations": _PAIRS,
                                      "parameters": _PAIRS})  # fmt: skip
    package = {**_FULL, "binding": {}, "actions": _list(_ref("PackageAction")),
               "feeds": _list(_ref("PackageAction"))}  # fmt: skip
    return {
        "Rule": _schema(f"{_BRIEF} trigger action", {**_META, **ends, "status": _TEXT}),
        "RuleMeta": _schema(f"{_BRIEF} trigger action", {**_META, **ends}),
        "RulePut": _schema("", {**_PUT, "trigger": _TEXT, "action": _TEXT, "status": status}),
        "RuleStatus": _schema("status", {"status": {"type": "string", "enum": ["active", "inactive"]}}),
        "Trigger": _schema(_BRIEF, {**_FULL, "limits": _ref("TriggerLimits"), "rules": _OBJECT}),
        "TriggerMeta": _schema(_BRIEF, _META),
        "TriggerPut": _schema("", {**_PUT, "parameters": _PAIRS}),
        "TriggerPayload": _OBJECT,
        "TriggerLimits": _OBJECT,
        "Package": _schema(_BRIEF, package),
        "PackagePut": _schema("", {**_PUT, "parameters": _PAIRS, "binding": _ref("PackageBinding")}),
        "PackageBinding": _schema("", {"namespace": _TEXT, "name": _TEXT}),
        "PackageAction": inside,
        "Provider": _schema("name", {"name": _SOME, "publish": _BOOLEAN, "parameters": _PAIRS}),
        **dict.fromkeys(("ProviderTrigger", "ProviderAction", "ProviderBinding"), _NAME),
    }


def _activations() -> dict[str, Json]:
    ended = {"start": _INTEGER, "end": _INTEGER, "duration": _INTEGER, "cause": _TEXT}
    brief = {**_ENTITY, "annotations": _PAIRS, "activationId": _TEXT, **ended}
    whole = {**brief, "subject": _TEXT, "response": _ref("ActivationResult"), "logs": _list(_TEXT)}
    return {
        "ActivationId": _schema("activationId", {"activationId": _TEXT}),
        "ActivationIds": _schema("", {"ids": _list(_ref("ActivationId"))}),
        "ActivationBrief": _schema(f"{_BRIEF} activationId start", {**brief, "statusCode": _INTEGER}),
        "Activation": _schema(f"{_BRIEF} subject activationId start response logs", whole),
        "ActivationResult": _schema("", {"status": _TEXT, "result": {}, "success": _BOOLEAN,
                                         "size": _INTEGER}),
        "ActivationLogs": _schema("", {"logs": _list(_TEXT)}),
        "ActivationStderr": _schema("", {"stderr": _TEXT}),
        "ActivationInfo": _schema("", {"id": _SOME, "result": _OBJECT, "stdout": _TEXT, "stderr": _TEXT}),
    }  # fmt: skip


def _definitions() -> dict[str, Json]:
    counts = ("invocationsPerMinute", "concurrentInvocations", "firesPerMinute")
    return {
        "KeyValue": _schema("", {"key": _TEXT, "value": {}, "init": _BOOLEAN, "encryption": _TEXT}),
        "ItemId": _schema("id", {"id": _TEXT}),
        "PathName": _schema("path name", {"path": _TEXT, "name": _TEXT}),
        "ErrorMessage": _schema("error", {"error": _TEXT, "code": _TEXT}),
        "EntityBrief": _schema(_BRIEF, _ENTITY),
        "UserLimits": _schema("", {**dict.fromkeys(counts, _INTEGER), "allowedKinds": _list(_TEXT),
                                   "storeActivations": _BOOLEAN}),
        **_actions(),
        **_others(),
        **_activations(),
    }  # fmt: skip


def _body(name: str, path: str) -> Json:
    """What a body is that the table of routes calls `name`."""
    if name == "List":
        return _list(_ref(_LISTED[path.rstrip("/").rpartition("/")[2]]))
    if name == "Object":
        return _ref("UserLimits") if path.endswith("/limits") else _OBJECT
    known = {"Text": _TEXT, "Names": _list(_TEXT)}
    return known[name] if name in known else _ref(_NAMED.get(name, name))


def _operation(route: ApiRoute) -> Json:
    parameters: list[Json] = [{"name": name, "in": "query", **QUERY[name]} for name in route.query.split()]
    if route.body:
        schema = _body(route.body.rstrip("?"), "")
        required = not route.body.endswith("?")
        parameters.append({"name": "body", "in": "body", "required": required, "schema": schema})
    answers = {
        str(status): {
            "description": MEANINGS[status],
            **({"schema": _body(name, route.path)} if name else {}),
        }
        for status, name in route.answers.items()
    }
    error = {"description": "What is wrong, and the request's id.", "schema": _ref("ErrorMessage")}
    found: Json = {"summary": route.summary, "responses": {**answers, "default": error}}
    return {**found, "parameters": parameters} if parameters else found


def _names(path: str) -> Json:
    found = [{"name": name, "in": "path", "required": True, **_TEXT} for name in re.findall(r"{(\w+)}", path)]
    return {"parameters": found} if found else {}


@cache
def swagger() -> Json:
    """The document."""
    called = {"summary": "Call a web action.", "security": [], "responses": {"default": {
        "description": "What the action says."}}}  # fmt: skip
    web = {verb.lower(): called for verb in VERBS}
    paths: dict[str, Json] = {f"{PREFIX[len(_BASE) :]}{{namespace}}/{{package}}/{{name}}": web}
    for route in ROUTES:
        if route.summary and route.path.startswith(f"{_BASE}/namespaces"):
            path = route.path[len(_BASE) :].replace("<", "{").replace(">", "}")
            paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "swagger": "2.0",
        "info": {"title": "EdgeWhisk", "version": __version__, "description": "OpenWhisk's REST API."},
        "basePath": _BASE,
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "securityDefinitions": {"basicAuth": {"type": "basic"}},
        "security": [{"basicAuth": []}],
        "paths": {path: {**item, **_names(path)} for path, item in sorted(paths.items())},
        "definitions": _definitions(),
    }
