"""Make what a manifest describes: packages, actions, sequences, triggers, feeds, rules.

Shows what it will do, then does it. A second run changes nothing.

edgewhisk deploy -m manifest.yaml --dry-run
edgewhisk deploy -m manifest.yaml --prune
HOST=192.168.1.5 edgewhisk deploy -m manifest.yaml
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from edgewhisk.cli.client import ApiClient, client
from edgewhisk.cli.client import options as client_options
from edgewhisk.cli.deploy import plan
from edgewhisk.cli.deploy.deployment import NAMES
from edgewhisk.cli.deploy.manifest import ManifestEntity, read
from edgewhisk.cli.entity.entity import named
from edgewhisk.cli.output import document, done, note, paint
from edgewhisk.errors import BadRequest

_NAMES: Final = ("manifest.yaml", "manifest.yml")
_MARKS: Final = {plan.CREATE: ("+", "green"), plan.UPDATE: ("~", "yellow"), plan.DELETE: ("-", "red"),
                 plan.KEEP: ("=", "dim")}  # fmt: skip


def options(parser: argparse.ArgumentParser) -> None:
    """The manifest, and what to do."""
    manifest_options(parser)
    parser.add_argument(
        "--prune",
        action="store_true",
        help="delete what its packages have besides",
    )


def manifest_options(parser: argparse.ArgumentParser) -> None:
    """The manifest, and whether to do anything."""
    parser.add_argument("-m", "--manifest", type=Path, metavar="FILE", help="default: ./manifest.yaml")
    parser.add_argument(
        "-d", "--deployment", type=Path, metavar="FILE", help="default: deployment.yaml beside the manifest"
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
    client_options(parser)


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Deploy."""
    api, steps = planned(given, environment, partial(plan.to_deploy, prune=given.prune))
    if given.dry_run:
        return 0
    for step in plan.carry_out(api, steps):
        if step.verb != plan.KEEP:
            done(f"{step.verb}d {step.shown}", quiet=given.json)
    changed = sum(step.verb != plan.KEEP for step in steps)
    done(f"deployed: {changed} changed, {len(steps) - changed} as they were", quiet=given.json)
    return 0


def planned(
    given: argparse.Namespace,
    environment: Mapping[str, str],
    make: Callable[[ApiClient, Sequence[ManifestEntity]], list[plan.PlanStep]],
) -> tuple[ApiClient, list[plan.PlanStep]]:
    """Read the manifest, and show what is to be done."""
    manifest = _manifest_of(given)
    deployment = given.deployment or _beside(manifest)
    if deployment is not None:
        done(f"with {deployment}", quiet=given.json)
    entities = read(manifest, environment, deployment, note)
    api = client(given, environment)
    with named("read what is there"):
        steps = make(api, entities)
    _show(steps, as_json=given.json)
    return api, steps


def _manifest_of(given: argparse.Namespace) -> Path:
    """The manifest named, or the one in the current folder."""
    if given.manifest is not None:
        return Path(given.manifest)
    for name in _NAMES:
        if Path(name).exists():
            return Path(name)
    raise BadRequest("there is no manifest.yaml here", hint="name one with --manifest FILE")


def _show(steps: list[plan.PlanStep], *, as_json: bool) -> None:
    """Print the plan."""
    if as_json:
        document([{"do": step.verb, "what": step.entity.kind, "name": step.entity.name} for step in steps])
        return
    if any(step.verb == plan.DELETE and step.entity.collection == "actions" for step in steps):
        note("with an action goes what it keeps as state")
    for step in steps:
        mark, colour = _MARKS[step.verb]
        print(paint(f"  {mark} {step.verb} {step.shown}", colour))


def _beside(manifest: Path) -> Path | None:
    """The deployment file of a manifest, if it has one."""
    return next((path for name in NAMES if (path := manifest.with_name(name)).is_file()), None)
