"""Rules: create, update, get, delete, enable, disable, status, list.

edgewhisk rule create hot-boiler boiler alarm   when boiler fires, alarm runs
edgewhisk rule update hot-boiler boiler other
edgewhisk rule get hot-boiler
edgewhisk rule delete hot-boiler
edgewhisk rule enable hot-boiler
edgewhisk rule disable hot-boiler
edgewhisk rule status hot-boiler
edgewhisk rule list
"""

from __future__ import annotations

import argparse
from typing import Any

from edgewhisk.cli.arguments import path_of, qualified
from edgewhisk.cli.client import ApiClient
from edgewhisk.cli.entity.entity import EntityCommands, listing, named, perform, shown, tabled, told

__all__ = ["options", "perform"]


def options(parser: argparse.ArgumentParser) -> None:
    """All verbs of rules."""
    noun = EntityCommands(parser)
    for verb in ("create", "update"):
        own = noun.verb(verb, _put, f"{verb} a rule: when TRIGGER fires, ACTION runs")
        own.add_argument("name")
        own.add_argument("trigger")
        own.add_argument("action")
        own.set_defaults(overwrite=verb == "update")
    noun.get(_get, "show a rule")
    delete = noun.verb("delete", _delete, "delete a rule")
    delete.add_argument("name")
    delete.add_argument("--disable", action="store_true", help="disable it before")
    for verb, status in (("enable", "active"), ("disable", "inactive")):
        own = noun.verb(verb, _set_status, f"make a rule {status}")
        own.add_argument("name")
        own.set_defaults(status=status)
    noun.verb("status", _status, "is a rule active?").add_argument("name")
    noun.list(_list, "list rules with their status")


def _put(given: argparse.Namespace, api: ApiClient) -> int:
    body = {"trigger": qualified(given.trigger), "action": qualified(given.action)}
    verb = "update" if given.overwrite else "create"
    with named(f"{verb} rule '{given.name}'"):
        found = api.put(path_of(given.name, "rules"), body, overwrite=given.overwrite)
    return told(given, found, f"{verb}d rule {given.name}")


def _get(given: argparse.Namespace, api: ApiClient) -> int:
    with named(f"get rule '{given.name}'"):
        found = api.get(path_of(given.name, "rules"))
    if given.summary:
        print(f"rule /{found['namespace']}/{found['name']}: {found['status']}")
        return 0
    return shown(given, found, "rule")


def _delete(given: argparse.Namespace, api: ApiClient) -> int:
    path = path_of(given.name, "rules")
    with named(f"delete rule '{given.name}'"):
        if given.disable:
            api.post(path, {"status": "inactive"})
        found = api.delete(path)
    return told(given, found, f"deleted rule {given.name}")


def _set_status(given: argparse.Namespace, api: ApiClient) -> int:
    path = path_of(given.name, "rules")
    with named(f"change rule '{given.name}'"):
        api.post(path, {"status": given.status})
    return told(given, {"status": given.status}, f"rule {given.name} is {given.status}")


def _status(given: argparse.Namespace, api: ApiClient) -> int:
    with named(f"get status of rule '{given.name}'"):
        status = api.get(path_of(given.name, "rules"))["status"]
    return told(given, {"status": status}, f"rule {given.name} is {status}")


def _list(given: argparse.Namespace, api: ApiClient) -> int:
    with named("list rules"):
        found = with_status(api, listing(api, given, "rules", given.where))
    return tabled(given, "rules", found, rows)


def with_status(api: ApiClient, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """OpenWhisk lists rules without their status; each is asked for."""
    return [api.get(f"{item['namespace']}/rules/{item['name']}") for item in found]


def rows(found: list[dict[str, Any]]) -> list[list[str]]:
    """Name, status and ends of each."""
    return [
        [
            f"/{item['namespace']}/{item['name']}",
            item["status"],
            f"/{item['trigger']['path']}/{item['trigger']['name']} -> "
            f"/{item['action']['path']}/{item['action']['name']}",
        ]
        for item in found
    ]
