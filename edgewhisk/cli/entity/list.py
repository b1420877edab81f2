"""List everything in a namespace: packages, actions, triggers and rules.

edgewhisk list
edgewhisk list /whisk.system
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Mapping

from edgewhisk.cli.client import ApiClient, ApiError, client
from edgewhisk.cli.client import options as client_options
from edgewhisk.cli.entity import action, package, rule, trigger
from edgewhisk.cli.entity.entity import listing, named
from edgewhisk.cli.output import document, table


def options(parser: argparse.ArgumentParser) -> None:
    """A namespace, and how to sort."""
    parser.add_argument("where", nargs="?", default="", metavar="/NAMESPACE")
    parser.add_argument("-n", "--name-sort", action="store_true", help="sort by name")
    client_options(parser)


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """List."""
    with contextlib.closing(client(given, environment)) as api:
        return show(given, api)


def show(given: argparse.Namespace, api: ApiClient) -> int:
    """Print all collections; of a foreign namespace, only the packages it shares can be seen."""
    given.limit = given.skip = 0
    found = {}
    with named("list the namespace"):
        found["packages"] = listing(api, given, "packages", given.where)
        try:
            for collection in ("actions", "triggers", "rules"):
                found[collection] = listing(api, given, collection, given.where)
            found["rules"] = rule.with_status(api, found["rules"])
        except ApiError as error:
            if error.code != 403:
                raise
    if given.json:
        document(found)
        return 0
    makers = {"packages": package.rows, "actions": action.rows, "triggers": trigger.rows, "rules": rule.rows}
    for collection, items in found.items():
        table(collection, makers[collection](items))
    return 0
