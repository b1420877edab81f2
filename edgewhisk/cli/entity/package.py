"""Packages: create, update, bind, get, delete, list, refresh.

edgewhisk package create tools -p host 192.168.1.5 --shared yes
edgewhisk package update tools -p host 192.168.1.6
edgewhisk package bind /whisk.system/mqtt mine -p qos 1
edgewhisk package get tools --summary
edgewhisk package delete tools --recursive
edgewhisk package list
edgewhisk package list /whisk.system
edgewhisk package refresh
"""

from __future__ import annotations

import argparse
from typing import Any

from edgewhisk.cli.arguments import keyed, mapping, parameter_options, path_of, qualified
from edgewhisk.cli.client import ApiClient
from edgewhisk.cli.entity.entity import EntityCommands, listing, named, perform, shown, tabled, told

__all__ = ["options", "perform"]


def options(parser: argparse.ArgumentParser) -> None:
    """All verbs of packages."""
    noun = EntityCommands(parser)
    for verb in ("create", "update"):
        own = noun.verb(verb, _put, f"{verb} a package")
        own.add_argument("name")
        own.add_argument("--shared", choices=("yes", "no"), help="let other namespaces use it")
        own.set_defaults(overwrite=verb == "update")
        parameter_options(own)
    bind = noun.verb("bind", _bind, "give a package of somebody else a name and parameters of one's own")
    bind.add_argument("package")
    bind.add_argument("name")
    bind.add_argument("-o", "--overwrite", action="store_true", help="change a binding that is there")
    parameter_options(bind)
    noun.get(_get, "show a package with its actions")
    delete = noun.verb("delete", _delete, "delete a package")
    delete.add_argument("name")
    delete.add_argument("-r", "--recursive", action="store_true", help="with all actions in it")
    noun.list(_list, "list packages")
    refresh = noun.verb("refresh", _refresh, "have a server that offers it make bindings anew")
    refresh.add_argument("where", nargs="?", default="", metavar="/NAMESPACE")


def _body(given: argparse.Namespace) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if parameters := mapping(given.param):
        body["parameters"] = keyed(parameters)
    if annotations := mapping(given.annotation):
        body["annotations"] = keyed(annotations)
    return body


def _put(given: argparse.Namespace, api: ApiClient) -> int:
    body = _body(given)
    if given.shared is not None:
        body["publish"] = given.shared == "yes"
    verb = "update" if given.overwrite else "create"
    with named(f"{verb} package '{given.name}'"):
        found = api.put(path_of(given.name, "packages"), body, overwrite=given.overwrite)
    return told(given, found, f"{verb}d package {given.name}")


def _bind(given: argparse.Namespace, api: ApiClient) -> int:
    namespace, _, package = qualified(given.package).lstrip("/").partition("/")
    body = {**_body(given), "binding": {"namespace": namespace, "name": package}}
    with named(f"bind package '{given.package}'"):
        found = api.put(path_of(given.name, "packages"), body, overwrite=given.overwrite)
    return told(given, found, f"created binding {given.name}")


def _refresh(given: argparse.Namespace, api: ApiClient) -> int:
    """Bindings are made by hand here, as in OpenWhisk: its controller has no such route, too."""
    namespace = given.where.strip("/") or "_"
    with named(f"refresh packages of '{namespace}'"):
        found = api.post(f"{namespace}/packages/refresh", {})
    return told(given, found, f"refreshed packages of {namespace}")


def _get(given: argparse.Namespace, api: ApiClient) -> int:
    with named(f"get package '{given.name}'"):
        found = api.get(path_of(given.name, "packages"))
    if given.summary:
        print(f"package /{found['namespace']}/{found['name']}")
        for kind in ("actions", "feeds"):
            for item in found.get(kind, []):
                print(f"  {kind[:-1]} {item['name']}")
        return 0
    return shown(given, found, "package")


def _delete(given: argparse.Namespace, api: ApiClient) -> int:
    query = {"force": True} if given.recursive else {}
    with named(f"delete package '{given.name}'"):
        found = api.delete(path_of(given.name, "packages"), **query)
    return told(given, found, f"deleted package {given.name}")


def _list(given: argparse.Namespace, api: ApiClient) -> int:
    with named("list packages"):
        found = listing(api, given, "packages", given.where)
    return tabled(given, "packages", found, rows)


def rows(found: list[dict[str, Any]]) -> list[list[str]]:
    """Name, visibility and binding of each."""
    return [
        [
            f"/{item['namespace']}/{item['name']}",
            "shared" if item["publish"] else "private",
            f"-> /{item['binding']['namespace']}/{item['binding']['name']}" if item.get("binding") else "",
        ]
        for item in found
    ]
