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
from edgewhisk.cli.output import complain
from edgewhisk.errors import ConfigError, EdgeWhiskError

VERBS = {
    "run": "run the gateway in the foreground",
    "demo": "show everything at work, with simulated sensors and cloud",
    "status": "what the running gateway is doing",
    "check": "check the configuration",
    "list": "list everything in a namespace",
    "action": "create, update, get, delete, invoke, list",
    "trigger": "create, update, get, delete, fire, list",
    "rule": "create, update, get, delete, enable, disable, status, list",
    "package": "create, update, bind, get, delete, list",
    "activation": "list, get, logs, result, poll",
    "namespace": "list, get",
    "device": "list, show, scan, try, record, replay, token",
    "queue": "messages and commands that could not go on: show, retry, drop",
    "buffer": "activations on disk: export",
    "broker": "the embedded broker: show, kick, retained; publish, subscribe",
    "deploy": "make what a manifest describes",
    "undeploy": "delete what a manifest describes",
    "subject": "who may log in: add, list, get, remove",
    "auth": "print the key of the default subject, guest",
    "wskprops": "print a ready .wskprops for wsk and other clients",
    "tls": "make a certificate for the API",
    "completion": "completion for bash, zsh and fish",
}
_FOLDERS = {
    "entity": {"list", "action", "trigger", "rule", "package", "activation", "namespace"},
    "deploy": {"deploy", "undeploy"},
    "device": {"device"},
}
_EXAMPLES = """examples:
  edgewhisk demo                              everything at work, with proof
  edgewhisk run                               a gateway with built-in defaults
  edgewhisk action create hello hello.js      what wsk does, without wsk
  edgewhisk action invoke hello --result -p name Ann
  edgewhisk activation poll                   see what happens
  edgewhisk device scan                       what is plugged in?
  edgewhisk deploy -m manifest.yaml --dry-run
  edgewhisk check --config edgewhisk.toml     is this configuration right?
"""
OK, FAILED, USAGE, NOT_RUNNING = 0, 1, 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code.

    0 done, 1 failed, 2 wrong usage or configuration, 3 nothing answers; of a refusal by the API
    what `wsk` exits with, its status modulo 256.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    given = _parser(words[0] if words else "").parse_args(words)
    try:
        return int(given.perform(given, os.environ))
    except ConfigError as error:
        for fault in error.faults:
            complain(str(fault))
        return USAGE
    except EdgeWhiskError as error:
        complain(str(error), error.hint)
        return int(getattr(error, "exit_code", FAILED))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def full_parser() -> argparse.ArgumentParser:
    """The parser of all verbs: only completion needs it."""
    return _parser(*VERBS)


def _folder_of(verb: str) -> str:
    return next((folder for folder, verbs in _FOLDERS.items() if verb in verbs), "gateway")


def _parser(*wanted: str) -> argparse.ArgumentParser:
    """A parser that knows all verbs, and the options of those `wanted`."""
    parser = argparse.ArgumentParser(
        prog="edgewhisk",
        description="OpenWhisk for a gateway, in one process.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edgewhisk {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, what in VERBS.items():
        if verb not in wanted:
            verbs.add_parser(verb, help=what)
            continue
        module = import_module(f"edgewhisk.cli.{_folder_of(verb)}.{verb}")
        own = verbs.add_parser(
            verb, help=what, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        text = "configuration (default: $EDGEWHISK_CONFIG, /etc/edgewhisk/edgewhisk.toml, built-in defaults)"
        own.add_argument("--config", type=Path, metavar="FILE", help=text)
        own.set_defaults(perform=module.perform)
        module.options(own)
    return parser
