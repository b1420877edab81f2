"""Show everything at work: sensors, sandbox, buffer, API, and a cloud that goes away and comes back.

Starts two gateways of its own in a temporary directory; needs no configuration, no root, nothing
else running. Exits 0 only if every reading has one activation and each is at the cloud once.

  edgewhisk demo
  edgewhisk demo --seconds 60
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping


def options(parser: argparse.ArgumentParser) -> None:
    """`--seconds`, `--keep`."""
    parser.add_argument("--seconds", type=float, default=20, help="how long the sensors publish (default 20)")
    parser.add_argument("--keep", action="store_true", help="run until Ctrl-C")


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Run the demo."""
    from edgewhisk.demo.story import tell

    del environment
    return tell(given.seconds, keep=given.keep)
