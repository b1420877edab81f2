"""The command line: one file for each verb.

A verb imports what it needs when it runs: `edgewhisk status` on a small board must not wait for the
daemon's libraries.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from edgewhisk import __version__
from edgewhisk.errors import ConfigError, EdgeWhiskError

_VERBS = {
    "run": "run the gateway in the foreground",
    "demo": "show everything at work, with simulated sensors and cloud",
    "status": "what the running gateway is doing",
    "check": "check the configuration",
    "auth": "print the key of the default subject, guest",
    "wskprops": "print a ready .wskprops for wsk and other clients",
}
_EXAMPLES = """examples:
  edgewhisk demo                              everything at work, in 20 seconds
  edgewhisk run                               a gateway with built-in defaults
  edgewhisk check --config edgewhisk.toml     is this configuration right?
  edgewhisk wskprops > ~/.wskprops            let wsk talk to this gateway
"""
OK, FAILED, USAGE, NOT_RUNNING = 0, 1, 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 failed, 2 wrong usage or configuration, 3 not running."""
    parser = argparse.ArgumentParser(
        prog="edgewhisk",
        description="OpenWhisk for a gateway, in one process.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edgewhisk {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, what in _VERBS.items():
        module = import_module(f"edgewhisk.cli.{verb}")
        own = verbs.add_parser(
            verb, help=what, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        text = "configuration (default: $EDGEWHISK_CONFIG, /etc/edgewhisk/edgewhisk.toml, built-in defaults)"
        own.add_argument("--config", type=Path, metavar="FILE", help=text)
        module.options(own)
        own.set_defaults(perform=module.perform)
    given = parser.parse_args(arguments)
    try:
        return int(given.perform(given, os.environ))
    except ConfigError as error:
        for fault in error.faults:
            complain(str(fault))
        return USAGE
    except EdgeWhiskError as error:
        complain(str(error), error.hint)
        return FAILED
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def complain(text: str, hint: str = "") -> None:
    """Say what is wrong, on stderr."""
    print(f"edgewhisk: {text}", file=sys.stderr)
    if hint:
        print(f"  hint: {hint}", file=sys.stderr)
