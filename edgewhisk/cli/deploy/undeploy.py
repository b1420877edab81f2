"""Delete what a manifest describes.

edgewhisk undeploy -m manifest.yaml --dry-run
edgewhisk undeploy -m manifest.yaml
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from edgewhisk.cli.deploy import plan
from edgewhisk.cli.deploy.deploy import manifest_options as options
from edgewhisk.cli.deploy.deploy import planned
from edgewhisk.cli.output import done

__all__ = ["options", "perform"]


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Undeploy."""
    api, steps = planned(given, environment, plan.to_undeploy)
    if given.dry_run:
        return 0
    for step in plan.carry_out(api, steps):
        done(f"{step.verb}d {step.shown}", quiet=given.json)
    done(f"undeployed: {len(steps)} removed", quiet=given.json)
    return 0
