"""Namespaces: list, get.

edgewhisk namespace list
edgewhisk namespace get
edgewhisk namespace get /whisk.system
"""

from __future__ import annotations

import argparse

from edgewhisk.cli.client import ApiClient
from edgewhisk.cli.entity import list as everything
from edgewhisk.cli.entity.entity import EntityCommands, named, perform
from edgewhisk.cli.output import document, table

__all__ = ["options", "perform"]


def options(parser: argparse.ArgumentParser) -> None:
    """All verbs of namespaces."""
    noun = EntityCommands(parser)
    noun.verb("list", _list, "list one's namespaces")
    get = noun.verb("get", _get, "list everything in a namespace")
    get.add_argument("where", nargs="?", default="", metavar="/NAMESPACE")
    get.add_argument("-n", "--name-sort", action="store_true", help="sort by name")


def _list(given: argparse.Namespace, api: ApiClient) -> int:
    with named("list namespaces"):
        found = api.get("/api/v1/namespaces")
    if given.json:
        document(found)
    else:
        table("namespaces", [[name] for name in found])
    return 0


def _get(given: argparse.Namespace, api: ApiClient) -> int:
    return everything.show(given, api)
