"""Refused: OpenWhisk's SDKs are for iOS and for containers, and neither is here.

What `wsk sdk install bashauto` makes: edgewhisk completion bash.

edgewhisk sdk install docker                  says that there are no containers
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Final

from edgewhisk.errors import BadRequest

_INSTEAD: Final = {
    "docker": "there are no containers; a program of your own runs as WebAssembly: sandboxes/README.md",
    "ios": "there is no SDK for iOS: any client of OpenWhisk's API works, with the key of edgewhisk auth",
    "bashauto": "edgewhisk completion bash",
}


def options(parser: argparse.ArgumentParser) -> None:
    """As `wsk sdk install COMPONENT`."""
    parser.add_argument("words", nargs="*", metavar="install COMPONENT")
    parser.add_argument("-s", "--stdout", action="store_true", help=argparse.SUPPRESS)


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Refuse, with what there is instead."""
    del environment
    component = given.words[-1].lower() if given.words else ""
    raise BadRequest("there are no SDKs here", hint=_INSTEAD.get(component, "; ".join(_INSTEAD.values())))
