"""What the nouns of the command line have in common: verbs below them, names in errors, lists."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgewhisk.cli.client import ApiError, Client
from edgewhisk.cli.client import options as client_options

Run = Callable[[argparse.Namespace, Client], int]


class Noun:
    """Adds verbs below a noun's parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        """The verb is required."""
        self._verbs = parser.add_subparsers(metavar="VERB", required=True)

    def verb(self, name: str, run: Run, what: str) -> argparse.ArgumentParser:
        """A parser for one verb, with the options of every client."""
        own = self._verbs.add_parser(name, help=what, description=what)
        own.add_argument("--config", type=Path, metavar="FILE", help="configuration of the local gateway")
        client_options(own)
        own.set_defaults(run=run)
        return own


@contextlib.contextmanager
def named(what: str) -> Iterator[None]:
    """Say in errors of the API what was attempted."""
    try:
        yield
    except ApiError as error:
        raise ApiError(
            f"unable to {what}: {error}", status=error.code, body=error.body, hint=error.hint
        ) from error


def listing(api: Client, given: argparse.Namespace, collection: str, where: str) -> list[dict[str, Any]]:
    """One page of a collection: of one's own namespace, of `/ns`, of a package or of `/ns/package`."""
    parts = [part for part in where.split("/") if part]
    namespace = parts.pop(0) if where.startswith("/") and parts else "_"
    path = "/".join([namespace, collection, *(f"{part}/" for part in parts)])
    found: list[dict[str, Any]] = api.get(path, limit=given.limit, skip=given.skip)
    if getattr(given, "name_sort", False):
        found.sort(key=lambda item: (item["namespace"], item["name"]))
    return found
