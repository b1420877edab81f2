"""Actions: create, update, get, delete, invoke, list.

edgewhisk action create hello hello.js -p place here --web true
edgewhisk action create chain --sequence hello,tools/mail
edgewhisk action create copy --copy hello
edgewhisk action create shop shop/ --kind nodejs:default -t 5000   a folder, as an archive
edgewhisk action update hello hello.js -a description 'Greets'
edgewhisk action get hello --url
edgewhisk action get hello --save
edgewhisk action delete hello
edgewhisk action invoke hello --result -p name Ann
edgewhisk action invoke hello --result -P names.json
edgewhisk action list /whisk.system
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edgewhisk.cli.arguments import (
    UsageError,
    executable,
    keyed,
    mapping,
    parameter_options,
    path_of,
    qualified,
    valued,
)
from edgewhisk.cli.client import ApiClient, ApiError
from edgewhisk.cli.entity.entity import EntityCommands, listing, named, perform, shown, tabled, told
from edgewhisk.cli.output import document, done, note
from edgewhisk.errors import BadRequest

_EXTENSIONS: Final = {"nodejs": ".js", "python": ".py", "wasm": ".wasm"}
_NATIVE: Final = "openwhisk/dockerskeleton"  # what `wsk` asks for
_LIMITS: Final = {"timeout": "timeout", "memory": "memory", "logsize": "logs", "concurrency": "concurrency"}

__all__ = ["options", "perform"]


def options(parser: argparse.ArgumentParser) -> None:
    """All verbs of actions."""
    noun = EntityCommands(parser)
    for verb, run in (("create", _create), ("update", _update)):
        own = noun.verb(verb, run, f"{verb} an action from code, an archive, a folder or other actions")
        own.add_argument("name")
        own.add_argument("file", nargs="?", help=".js, .py, .wasm, .zip or a folder")
        own.add_argument("--kind", help="nodejs:default, python:default, wasm:default")
        own.add_argument("--main", help="name of the entry function")
        part: dict[str, Any] = {"nargs": "?", "action": _Part, "const": ""}
        own.add_argument("--sequence", metavar="A,B", help="run actions one after the other", **part)
        own.add_argument("--copy", metavar="ACTION", help="copy another action", **part)
        own.add_argument("--docker", metavar="IMAGE", help="refused here: there are no containers")
        own.add_argument("--native", action="store_true", help="refused here, as --docker")
        own.add_argument("--web", help="true, false or raw: call it over the web")
        own.add_argument(
            "--web-secure", metavar="SECRET", help="true, false or a secret for X-Require-Whisk-Auth"
        )
        own.add_argument("-t", "--timeout", type=int, metavar="MS")
        own.add_argument("-m", "--memory", type=int, metavar="MB")
        own.add_argument("-l", "--logsize", type=int, metavar="MB")
        own.add_argument("-c", "--concurrency", type=int)
        own.add_argument("--del-annotation", action="append", default=[], metavar="KEY")
        parameter_options(own)
    get = noun.get(_get, "show an action")
    get.add_argument("-r", "--url", action="store_true", help="only its URL")
    get.add_argument("--save", action="store_true", help="write the code to a file named after the action")
    get.add_argument("--save-as", metavar="FILE", help="write the code to a file")
    noun.verb("delete", _delete, "delete an action").add_argument("name")
    invoke = noun.verb("invoke", _invoke, "run an action")
    invoke.add_argument("name")
    invoke.add_argument("-b", "--blocking", action="store_true", help="wait for the activation")
    invoke.add_argument("-r", "--result", action="store_true", help="wait, and print only the result")
    parameter_options(invoke, annotations=False)
    noun.list(_list, "list actions", "/NAMESPACE or PACKAGE")


class _Part(argparse.Action):
    """`--sequence` and `--copy`: for `wsk` the name comes first wherever they stand, then what they take."""

    def __call__(self, _parser: Any, given: argparse.Namespace, values: Any, _option: Any = None) -> None:
        if values and given.name is None:
            given.first, values = values, ""
        setattr(given, self.dest, values)


def _in_order(given: argparse.Namespace) -> None:
    """Put name and file right where `--sequence NAME A,B` was given."""
    if first := getattr(given, "first", None):
        given.name, given.file = first, given.name


def _create(given: argparse.Namespace, api: ApiClient) -> int:
    _in_order(given)
    with named(f"create action '{given.name}'"):
        body = _body(given, api, {})
        if "exec" not in body:
            raise UsageError("code is missing", hint="edgewhisk action create NAME FILE")
        found = api.put(path_of(given.name, "actions"), body, overwrite=False)
    return told(given, found, f"created action {given.name}")


def _update(given: argparse.Namespace, api: ApiClient) -> int:
    _in_order(given)
    with named(f"update action '{given.name}'"):
        path = path_of(given.name, "actions")
        old = api.find(path, code=False) or {}
        found = api.put(path, _body(given, api, old), overwrite=True)
    return told(given, found, f"updated action {given.name}")


def _body(given: argparse.Namespace, api: ApiClient, old: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    annotations = mapping(given.annotation)
    if given.docker or given.native:
        body["exec"] = {"kind": "blackbox", "image": given.docker or _NATIVE}
    elif given.sequence is not None:
        parts = given.sequence or given.file or ""
        body["exec"] = {
            "kind": "sequence",
            "components": [qualified(part.strip()) for part in parts.split(",") if part.strip()],
        }
    elif given.copy is not None:
        source = api.get(path_of(given.copy or given.file or "", "actions"), code=True)
        body = {key: source[key] for key in ("exec", "parameters", "limits")}
        annotations = valued(source["annotations"]) | annotations
    elif given.file is not None:
        body["exec"] = executable(Path(given.file), given.kind, given.main)
    annotations |= _web(given.web, given.web_secure, old)
    if annotations:
        body["annotations"] = keyed(annotations)
    parameters = mapping(given.param)
    if parameters:
        body["parameters"] = keyed(parameters)
    limits = {
        key: getattr(given, option) for option, key in _LIMITS.items() if getattr(given, option) is not None
    }
    if limits:
        body["limits"] = limits
    gone = list(given.del_annotation)
    if str(given.web_secure).lower() == "false" and old:
        gone.append("require-whisk-auth")
    if gone:
        body["delAnnotations"] = gone
    return body


def _web(web: str | None, secure: str | None, old: Mapping[str, Any]) -> dict[str, Any]:
    """Annotations of `--web` and `--web-secure`, as `wsk` sets them."""
    found: dict[str, Any] = {}
    if web is not None:
        flags = {"true": (True, False), "yes": (True, False), "raw": (True, True), "false": (False, False),
                 "no": (False, False)}  # fmt: skip
        if web.lower() not in flags:
            raise UsageError(f"--web must be true, false or raw, not {web!r}")
        exported, raw = flags[web.lower()]
        found = {"web-export": exported, "raw-http": raw, "final": exported}
    if secure is not None:
        known = valued(old.get("annotations", []))
        if not (found.get("web-export") or (web is None and known.get("web-export"))):
            raise UsageError("--web-secure needs --web true or raw")
        if secure.lower() == "true":
            import secrets

            found["require-whisk-auth"] = known.get("require-whisk-auth") or secrets.randbelow(1 << 53)
        elif secure.lower() != "false":
            found["require-whisk-auth"] = secure
    return found


def _get(given: argparse.Namespace, api: ApiClient) -> int:
    path = path_of(given.name, "actions")
    save = given.save or given.save_as
    with named(f"get action '{given.name}'"):
        found = api.get(path, code=bool(save))
    if given.url:
        print(_url(api, found))
    elif save:
        return _save(given, found)
    elif given.summary:
        _summarise(found)
    else:
        return shown(given, found, "action")
    return 0


def _url(api: ApiClient, found: Mapping[str, Any]) -> str:
    annotations = valued(found["annotations"])
    namespace, _, package = found["namespace"].partition("/")
    if annotations.get("web-export") is True:
        return f"{api.target.url}/api/v1/web/{namespace}/{package or 'default'}/{found['name']}"
    inside = f"{package}/{found['name']}" if package else found["name"]
    return f"{api.target.url}/api/v1/namespaces/{namespace}/actions/{inside}"


def _save(given: argparse.Namespace, found: Mapping[str, Any]) -> int:
    import base64

    executable_ = found["exec"]
    if "code" not in executable_:
        raise BadRequest(f"action {given.name} has no code: it is a {executable_['kind']}")
    kind = executable_["kind"]
    binary = executable_.get("binary", False)
    suffix = ".zip" if binary and not kind.startswith("wasm") else _EXTENSIONS.get(kind.partition(":")[0], "")
    path = Path(given.save_as or f"{found['name']}{suffix}")
    if path.exists() and given.save:
        raise UsageError(f"{path} exists already", hint="use --save-as")
    path.write_bytes(base64.b64decode(executable_["code"]) if binary else executable_["code"].encode())
    done(f"saved action code to {path.resolve()}", quiet=given.json)
    return 0


def _summarise(found: Mapping[str, Any]) -> None:
    annotations = valued(found["annotations"])
    print(f"action /{found['namespace']}/{found['name']}: {annotations.get('description', 'no description')}")
    described = annotations.get("parameters")
    names = [item.get("name", "") for item in described] if isinstance(described, list) else []
    bound = [item["key"] for item in found["parameters"]]
    print(f"   (parameters: {', '.join([*names, *(f'*{key}' for key in bound)]) or 'none defined'})")


def _delete(given: argparse.Namespace, api: ApiClient) -> int:
    with named(f"delete action '{given.name}'"):
        found = api.delete(path_of(given.name, "actions"))
    return told(given, found, f"deleted action {given.name}")


def _invoke(given: argparse.Namespace, api: ApiClient) -> int:
    payload = mapping(given.param)
    blocking = given.blocking or given.result
    try:
        with named(f"invoke action '{given.name}'"):
            status, found = api.answer(
                "POST", path_of(given.name, "actions"), payload, blocking=blocking, result=given.result
            )
    except ApiError as error:
        if error.code != 502 or (
            isinstance(error.body, dict) and "code" in error.body and "error" in error.body
        ):
            raise
        document(error.body)  # the activation, or the result, of an action that failed
        return error.exit_code
    if isinstance(found, dict) and "activationId" in found and not given.result:
        done(f"invoked /_/{given.name.lstrip('/')} with id {found['activationId']}", quiet=given.json)
    if blocking or given.json:
        document(found)
    if blocking and status == 202:
        note(f"it still runs; when it is done: edgewhisk activation get {found['activationId']}")
    return 202 if blocking and status == 202 else 0  # as wsk: the result is not there yet


def _list(given: argparse.Namespace, api: ApiClient) -> int:
    with named("list actions"):
        found = listing(api, given, "actions", given.where)
    return tabled(given, "actions", found, rows)


def rows(found: list[dict[str, Any]]) -> list[list[str]]:
    """Name, visibility and kind of each."""
    return [
        [
            f"/{item['namespace']}/{item['name']}",
            "shared" if item["publish"] else "private",
            str(valued(item["annotations"]).get("exec", "")),
        ]
        for item in found
    ]
