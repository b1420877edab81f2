"""Print a script that completes commands, options, profiles and names of entities with the tab key.

eval "$(edgewhisk completion bash)"          # also zsh; put it into ~/.bashrc or ~/.zshrc
edgewhisk completion fish | source
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from edgewhisk.errors import EdgeWhiskError

_PATIENCE: Final = 2.0  # seconds; who presses a key does not wait longer
_RECENT: Final = 20  # activations that are offered
_BASH: Final = """_edgewhisk() {
  local IFS=$'\\n'
  COMPREPLY=($(edgewhisk completion words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _edgewhisk edgewhisk"""
_SCRIPTS: Final = {
    "bash": _BASH,
    "zsh": f"autoload -U +X bashcompinit && bashcompinit\n{_BASH}",
    "fish": "complete -c edgewhisk -e\n"
    "complete -c edgewhisk -a '(edgewhisk completion words (commandline -opc)[2..] (commandline -ct))'",
}
# What a word of this name is the name of, below any verb, and what `name` is the name of, below a noun.
_KINDS: Final = {
    "trigger": "triggers",
    "action": "actions",
    "copy": "actions",
    "feed": "feeds",
    "package": "packages",
    "profile": "profiles",
    "id": "activations",
}
_NOUNS: Final = {
    "action": "actions",
    "trigger": "triggers",
    "rule": "rules",
    "package": "packages",
    "activation": "actions",
    "subject": "subjects",
}
_NEW: Final = {"create", "bind", "add"}  # verbs whose `name` is a new one


def options(parser: argparse.ArgumentParser) -> None:
    """The shell; or `words`, which the scripts use, and a command whose last word is not complete."""
    parser.add_argument("shell", choices=(*_SCRIPTS, "words"), metavar="bash|zsh|fish")
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Print the script, or what may stand in place of the last word, one on each line."""
    if given.shell == "words":
        print("\n".join(completions(given.words or [""], environment)))
    else:
        print(_SCRIPTS[given.shell])
    return 0


def completions(words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """What may stand in place of the last of some words."""
    from edgewhisk.cli import parser_of

    *before, begun = words
    parser, path, rest = parser_of(before[0] if before else ""), list[str](), list(before)
    while rest and (below := _below(parser)) and rest[0] in below:
        path.append(rest.pop(0))
        parser = below[path[-1]]
    if below := _below(parser):
        known: Iterable[str] = [*below, *([] if path else ["--help", "--version"])]
    else:
        known = _of_verb(parser, path, rest, begun, environment)
    return [one for one in known if one.startswith(begun)]


def _below(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the verbs below a parser."""
    found = (one.choices for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    return dict(next(found, {}))


def _of_verb(
    parser: argparse.ArgumentParser,
    path: Sequence[str],
    rest: Sequence[str],
    begun: str,
    environment: Mapping[str, str],
) -> Iterable[str]:
    """Options, or values of the option or the place that is next."""
    by_name = {name: action for action in parser._actions for name in action.option_strings}
    places = [action for action in parser._actions if not action.option_strings]
    waits: tuple[argparse.Action, int] | None = None  # an option, and how many values it still takes
    for word in rest:
        if waits:
            waits = (waits[0], waits[1] - 1) if waits[1] > 1 else None
        elif word in by_name:
            waits = (by_name[word], count) if (count := _count(by_name[word])) else None
        elif places and places[0].nargs != "+" and not word.startswith("-"):
            places.pop(0)
    if waits:
        return _values(waits[0], path, environment)
    if begun.startswith("-"):
        return [name for name in by_name if name.startswith("--")]
    return _values(places[0], path, environment) if places else []


def _count(option: argparse.Action) -> int:
    """How many values follow an option."""
    return option.nargs if isinstance(option.nargs, int) else 1 if option.nargs in (None, "?", "+") else 0


def _values(action: argparse.Action, path: Sequence[str], environment: Mapping[str, str]) -> Iterable[str]:
    if action.choices:
        return map(str, action.choices)
    kind = _KINDS.get(action.dest, "")
    if action.dest == "name" and path[0] in _NOUNS and path[-1] not in _NEW:
        kind = _NOUNS[path[0]]
    if action.dest == "file" and list(path) == ["device", "replay"]:
        kind = "profiles"
    if action.dest == "id" and path[0] != "activation":
        kind = ""
    found: list[str] = []
    with contextlib.suppress(
        EdgeWhiskError, OSError, LookupError, TypeError
    ):  # no word is better than a wrong one
        found += _named(kind, environment)
    return found


def _named(kind: str, environment: Mapping[str, str]) -> Iterator[str]:
    """All names of a kind."""
    if not kind:
        return
    from pathlib import Path

    from edgewhisk.base import resources
    from edgewhisk.cli.client import ApiClient
    from edgewhisk.cli.endpoint import target
    from edgewhisk.cli.entity.suggestion import names, system_names
    from edgewhisk.config.loader import load

    nothing = argparse.Namespace(
        config=None, apihost=None, auth=None, insecure=False, cacert=None, cert=None, key=None
    )
    if kind in ("profiles", "subjects"):
        from edgewhisk.controller.auth.subjects import subjects_of
        from edgewhisk.device import library

        state: Path = load(None, environment).state_dir
        resources.own(state)
        yield from library.names() if kind == "profiles" else subjects_of(state)
        return
    with contextlib.closing(ApiClient(target(nothing, environment), patience=_PATIENCE)) as api:
        if kind == "feeds":
            yield from system_names(api, "actions", feeds=True)
        elif kind == "activations":
            found: list[dict[str, Any]] = api.get("_/activations", limit=_RECENT, skip=0)
            yield from (one["activationId"] for one in found)
        else:
            yield from names(api, kind)
