"""Delete what a manifest describes.

edgewhisk undeploy -m manifest.yaml --dry-run
edgewhisk undeploy -m manifest.yaml
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from edgewhisk.cli import plan
from edgewhisk.cli.client import client
from edgewhisk.cli.client import options as client_options
from edgewhisk.cli.deploy import manifest_of, show
from edgewhisk.cli.manifest import read
from edgewhisk.cli.noun import named
from edgewhisk.cli.output import done


def options(parser: argparse.ArgumentParser) -> None:
    """The manifest, and whether to do anything."""
    parser.add_argument("-m", "--manifest", type=Path, metavar="FILE", help="default: ./manifest.yaml")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
    client_options(parser)


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Undeploy."""
    entities = read(manifest_of(given), environment)
    api = client(given, environment)
    with named("read what is there"):
        steps = plan.to_undeploy(api, entities)
    show(steps, as_json=given.json)
    if given.dry_run:
        return 0
    for step in plan.carry_out(api, steps):
        done(f"{step.verb}d {step.shown}", quiet=given.json)
    done(f"undeployed: {len(steps)} removed", quiet=given.json)
    return 0
