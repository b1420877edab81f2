"""What the nouns of the command line have in common: verbs below them, names in errors, lists."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgewhisk.cli.arguments import field_of, page_options
from edgewhisk.cli.client import ApiClient, ApiError, client
from edgewhisk.cli.client import options as client_options
from edgewhisk.cli.output import document, done, table
from edgewhisk.cli.parser import add_verb

Run = Callable[[argparse.Namespace, ApiClient], int]


class EntityCommands:
    """Adds verbs below a noun's parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        """The verb is required."""
        self._noun = parser
        self._verbs = parser.add_subparsers(metavar="VERB", required=True)

    def verb(self, name: str, run: Run, what: str) -> argparse.ArgumentParser:
        """A parser for one verb, with the options of every client."""
        own = add_verb(self._verbs, self._noun, name, what)
        own.add_argument("--config", type=Path, metavar="FILE", help="configuration of the local gateway")
        client_options(own)
        own.add_argument("-d", action="store_true", dest="verbose", help=argparse.SUPPRESS)
        own.set_defaults(run=run)
        return own

    def get(self, run: Run, what: str) -> argparse.ArgumentParser:
        """The verb `get NAME [FIELD]`, with `--summary`."""
        own = self.verb("get", run, what)
        own.add_argument("name")
        own.add_argument("field", nargs="?")
        own.add_argument("-s", "--summary", action="store_true", help="only what it is")
        return own

    def list(self, run: Run, what: str, where: str = "/NAMESPACE") -> None:
        """The verb `list`, with its pages."""
        own = self.verb("list", run, what)
        own.add_argument("where", nargs="?", default="", metavar=where)
        own.add_argument("-n", "--name-sort", action="store_true", help="sort by name")
        page_options(own)


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Run the verb that was given."""
    with contextlib.closing(client(given, environment)) as api:
        try:
            return int(given.run(given, api))
        except ApiError as error:
            if error.code in (403, 404) and not error.hint:
                from edgewhisk.cli.entity.suggestion import suggestion

                error.hint = suggestion(api, error)
            raise


def told(given: argparse.Namespace, found: Any, text: str) -> int:
    """Say that it worked, or print the answer for a script; exit code 0."""
    if given.json:
        document(found)
    done(text, quiet=given.json)
    return 0


def shown(given: argparse.Namespace, found: Mapping[str, Any], what: str) -> int:
    """Print a document, or one field of it; exit code 0."""
    done(f"got {what} {given.name}", quiet=given.json or given.field is not None)
    document(field_of(found, given.field))
    return 0


def tabled(given: argparse.Namespace, title: str, found: Any, rows: Callable[[Any], list[list[str]]]) -> int:
    """Print a list as a table, or as JSON for a script; exit code 0."""
    if given.json:
        document(found)
    else:
        table(title, rows(found))
    return 0


@contextlib.contextmanager
def named(what: str) -> Iterator[None]:
    """Say in errors of the API what was attempted."""
    try:
        yield
    except ApiError as error:
        raise error.saying(f"unable to {what}: {error}") from error


def listing(api: ApiClient, given: argparse.Namespace, collection: str, where: str) -> list[dict[str, Any]]:
    """One page of a collection: of one's own namespace, of `/ns`, of a package or of `/ns/package`."""
    parts = [part for part in where.split("/") if part]
    namespace = parts.pop(0) if where.startswith("/") and parts else "_"
    path = "/".join([namespace, collection, *(f"{part}/" for part in parts)])
    found: list[dict[str, Any]] = api.get(path, limit=given.limit, skip=given.skip)
    if getattr(given, "name_sort", False):
        found.sort(key=lambda item: (item["namespace"], item["name"]))
    return found
