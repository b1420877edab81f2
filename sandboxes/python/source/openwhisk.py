"""The client of OpenWhisk for Python actions: the npm package's calls, by keyword, each with its answer.

    ow = openwhisk.Client()
    ow.actions.invoke("hello", params={"n": 1})                               # {"activationId": ...}, at once
    ow.actions.invoke(name="hello", params={"n": 1}, blocking=True, result=True)  # what it gives

It asks the gateway's own REST API in the caller's name; the action's annotations say what it may do
(sandboxes/README.md). Raises `OpenWhiskError`.
"""

import json
from urllib.parse import quote, urlencode

import wit_world as _world

_FORBIDDEN = 403


class OpenWhiskError(Exception):
    """The API refused, or an action failed: `status_code`, and `error`, which is what came back."""

    def __init__(self, text, error=None, status_code=None):
        super().__init__(text)
        self.error = error
        self.status_code = status_code


def _said(body):
    """What a body says went wrong: the platform, or an action."""
    error = body.get("error") if isinstance(body, dict) else None
    if error is None and isinstance(body, dict):
        result = (body.get("response") or {}).get("result")
        error = result.get("error") if isinstance(result, dict) else None
    return error if isinstance(error, str) else "Response Missing Error Message."


def _ask(method, path, query=None, body=None):
    given = {key: value for key, value in (query or {}).items() if value is not None}
    text = urlencode(
        {key: str(value).lower() if isinstance(value, bool) else value for key, value in given.items()}
    )
    request = {"op": "api", "method": method, "path": path, "query": text}
    if body is not None:
        request["body"] = body
    try:
        asked = json.dumps(request, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise OpenWhiskError(f"{method} {path}: the parameters cannot be written as JSON: {error}") from error
    answer = json.loads(_world.ask(asked))
    if "error" in answer:
        refused = " is not granted" in answer["error"]
        raise OpenWhiskError(answer["error"], {"error": answer["error"]}, _FORBIDDEN if refused else None)
    status, found = answer["ok"]["status"], answer["ok"]["body"]
    if not 200 <= status < 300:
        raise OpenWhiskError(f'{method} {path} Returned HTTP {status} --> "{_said(found)}"', found, status)
    return found


def _pairs(values):
    return (
        values
        if isinstance(values, list)
        else [{"key": key, "value": value} for key, value in values.items()]
    )


class Resources:
    """The entities of one collection. `name` may be "name", "package/name" or "/namespace/package/name"."""

    def __init__(self, kind, namespace):
        self._kind = kind
        self._namespace = namespace

    def _at(self, name=None):
        namespace, own = self._namespace, name
        if name is not None and name.startswith("/"):
            namespace, _, own = name[1:].partition("/")
        tail = "" if own is None else f"/{quote(own, safe='/')}"
        return f"/namespaces/{quote(namespace, safe='')}/{self._kind}{tail}"

    def list(self, **query):
        """Briefs; `limit`, `skip`, `count`, for activations `name`, `since`, `upto`, `docs`."""
        return _ask("GET", self._at(), query)

    def get(self, name):
        """The whole entity."""
        return _ask("GET", self._at(name))

    def delete(self, name):
        """Delete; what it was."""
        return _ask("DELETE", self._at(name))

    def put(self, name, body=None, *, params=None, annotations=None, overwrite=False):
        """Create, or with `overwrite` update: `body` is what the REST API takes."""
        made = dict(body or {})
        if params is not None:
            made["parameters"] = _pairs(params)
        if annotations is not None:
            made["annotations"] = _pairs(annotations)
        return _ask("PUT", self._at(name), {"overwrite": overwrite}, made)


class Actions(Resources):
    """Actions."""

    def invoke(self, name, params=None, *, blocking=False, result=False):
        """`{"activationId"}` at once; with `blocking` the activation, with `result` too what it gives."""
        found = _ask("POST", self._at(name), {"blocking": blocking}, params or {})
        return found["response"]["result"] if blocking and result and "response" in found else found


class Triggers(Resources):
    """Triggers."""

    def invoke(self, name, params=None):
        """Fire; `{"activationId"}`, or None where no rule is active."""
        return _ask("POST", self._at(name), None, params or {})


class Rules(Resources):
    """Rules."""

    def enable(self, name):
        """Have it start its action again."""
        return _ask("POST", self._at(name), None, {"status": "active"})

    def disable(self, name):
        """Have it start nothing."""
        return _ask("POST", self._at(name), None, {"status": "inactive"})


class Activations(Resources):
    """Activations."""

    def logs(self, name):
        """`{"logs"}`."""
        return _ask("GET", f"{self._at(name)}/logs")

    def result(self, name):
        """`{"result", "status", "success"}`."""
        return _ask("GET", f"{self._at(name)}/result")


class Client:
    """What an action may do with the API of OpenWhisk."""

    def __init__(self, namespace="_"):
        self.actions = Actions("actions", namespace)
        self.triggers = Triggers("triggers", namespace)
        self.rules = Rules("rules", namespace)
        self.packages = Resources("packages", namespace)
        self.activations = Activations("activations", namespace)

    def namespaces(self):
        """The names of the namespaces that the key opens."""
        return _ask("GET", "/namespaces")
