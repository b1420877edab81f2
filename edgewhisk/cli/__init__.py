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
from edgewhisk.cli.parser import CommandParser
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
    "package": "create, update, bind, get, delete, list, refresh",
    "activation": "list, get, logs, result, poll: what ran",
    "namespace": "list, get",
    "device": "list, show, scan, try, record, replay, token",
    "queue": "messages and commands that could not go on: show, retry, drop",
    "buffer": "activations on disk: export",
    "cloud": "what activations are synced to: test, status",
    "broker": "the embedded broker: show, kick, retained; publish, subscribe",
    "deploy": "make what a manifest describes",
    "undeploy": "delete what a manifest describes",
    "subject": "who may log in: add, list, get, remove",
    "auth": "print the key of the default subject, guest",
    "wskprops": "print a ready .wskprops for wsk and other clients",
    "property": "what .wskprops says: get, set, unset",
    "tls": "make a certificate for the API",
    "completion": "completion for bash, zsh and fish",
    "sdk": "refused: there are no SDKs here",
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
_EARLY = {  # option of every client -> words that it takes
    **dict.fromkeys(("-i", "--insecure", "-v", "--verbose", "-d", "--debug"), 1),
    **dict.fromkeys(("--apihost", "-u", "--auth", "--cacert", "--cert", "--key", "--apiversion"), 2),
}
OK, FAILED, USAGE, NOT_RUNNING = 0, 1, 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code.

    0 done, 1 failed, 2 wrong usage or configuration, 3 nothing answers; of a refusal by the API
    what `wsk` exits with, its status modulo 256.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        words = _verbs_first(words)
        given = _parser(words[0] if words else "").parse_args(words)
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
    except PermissionError as error:
        complain(f"{error.filename}: {error.strerror}", "run it as root or as the gateway's user")
        return FAILED


def _verbs_first(words: list[str]) -> list[str]:
    """`wsk` takes the options of its client before the verbs, too, and `help` as one.

    Here each verb has its own options.
    """
    if words[:1] == ["help"]:
        return [*words[1:], "--help"]
    early: list[str] = []
    at = verbs = 0
    while at < len(words) and verbs < 2:
        taken = _EARLY.get(words[at].partition("=")[0], 0)
        if taken == 2 and "=" in words[at]:
            taken = 1
        early += words[at : at + taken]
        del words[at : at + taken]
        if not taken:
            at, verbs = at + 1, verbs + 1
    return words + early


def parser_of(verb: str) -> argparse.ArgumentParser:
    """The parser that knows all verbs by name, and the options of one."""
    return _parser(verb)


def _folder_of(verb: str) -> str:
    return next((folder for folder, verbs in _FOLDERS.items() if verb in verbs), "gateway")


def _parser(*wanted: str) -> argparse.ArgumentParser:
    """A parser that knows all verbs, and the options of those `wanted`."""
    parser = CommandParser(
        prog="edgewhisk", description="OpenWhisk for a gateway, in one process.", epilog=_EXAMPLES
    )
    parser.add_argument("--version", action="version", version=f"edgewhisk {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, what in VERBS.items():
        if verb not in wanted:
            verbs.add_parser(verb, help=what)
            continue
        module = import_module(f"edgewhisk.cli.{_folder_of(verb)}.{verb}")
        own = verbs.add_parser(verb, help=what, description=module.__doc__)
        text = "configuration (default: $EDGEWHISK_CONFIG, /etc/edgewhisk/edgewhisk.toml, built-in defaults)"
        own.add_argument("--config", type=Path, metavar="FILE", help=text)
        own.set_defaults(perform=module.perform)
        module.options(own)
    return parser
