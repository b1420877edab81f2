"""How the command line reads its words: it says what was likely meant, and its help fits the terminal."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Collection, Sequence
from typing import Any, Final

_EXAMPLE: Final = re.compile(r"^ *(edgewhisk|eval) ")
_MOST: Final = 40  # choices that are named one by one


def close(word: str, known: Collection[str]) -> list[str]:
    """What was likely meant by `word`."""
    from difflib import get_close_matches  # for a mistake only

    found = get_close_matches(word[:64].lower(), known, 2, 0.6)
    return found or ([one for one in known if one.startswith(word)][:2] if word else [])


def meant(word: str, known: Collection[str]) -> str:
    """The same as words for an error: "; did you mean list?", or ""."""
    found = close(word, known)
    return f"; did you mean {' or '.join(found)}?" if found else ""


class CommandHelp(argparse.RawDescriptionHelpFormatter):
    """Help whose prose is filled to the terminal's width; examples stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        import textwrap

        parts = []
        for part in re.split(r"\n\s*\n", text.strip()):
            lines = part.splitlines()
            kept = any(_EXAMPLE.match(line) or line.startswith("  ") for line in lines)
            filled = textwrap.fill(" ".join(part.split()), width)
            parts.append("\n".join(_folded(line.rstrip(), width) for line in lines) if kept else filled)
        return "\n\n".join(parts)


def _folded(line: str, width: int) -> str:
    """An example; what it is for goes to the next line where both do not fit."""
    command, gap, what = line.partition("   ")
    if len(line) <= width or not gap or not what.strip():
        return line
    return f"{command.rstrip()}\n      {what.strip()}"


class CommandParser(argparse.ArgumentParser):
    """Reads one command, or the part of it that is below a verb."""

    def __init__(self, *given: Any, **more: Any) -> None:
        """As argparse, with our help."""
        super().__init__(*given, **{"formatter_class": CommandHelp, **more})

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse; a word too many is told by the verb that has it, which knows its own options."""
        found, rest = super().parse_known_args(args, namespace)
        rest = self._late(found, rest)
        if rest and self._subparsers is None:
            options = [name for action in self._actions for name in action.option_strings]
            word = rest[0].partition("=")[0].encode(errors="backslashreplace").decode()
            likely = meant(word, options) if word.startswith("-") else ""
            what = "option" if word.startswith("-") else "word"
            self.error(f"there is no {what} {word}{likely or ' here'}")
        return found, rest

    def _late(self, found: argparse.Namespace, rest: list[str]) -> list[str]:
        """Give places that may be empty the words behind an option: Python 3.11 leaves them empty."""
        places = [one for one in self._actions if not one.option_strings and one.nargs == "?"]
        for place in places if self._subparsers is None else []:
            if (
                rest
                and rest[0]
                and not rest[0].startswith("-")
                and getattr(found, place.dest, None) == place.default
            ):
                word = rest.pop(0)
                self._check_value(place, word)
                setattr(found, place.dest, word)
        return rest

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Python names all choices, and from 3.14 on suggests one: this is so with every Python."""
        if action.choices is None or value in action.choices:
            return
        known = [str(one) for one in action.choices]
        listed = f" ({', '.join(known)})" if len(known) <= _MOST else ""
        name = "command" if isinstance(action, argparse._SubParsersAction) else "choice"
        raise argparse.ArgumentError(
            None, f"{self._verbs()}there is no {name} {str(value)!r}{meant(str(value), known) or listed}"
        )

    def _verbs(self) -> str:
        """The verbs that lead here, as a mistake names them: "action list: "."""
        return "".join(f"{words}: " for words in [self.prog.partition(" ")[2]] if words)

    def error(self, message: str) -> Any:
        """Say what is wrong, and where help is; exit code 2."""
        from edgewhisk.cli.output import complain

        if "the following arguments are required" in message:
            self.print_usage(sys.stderr)
        complain(message, f"{self.prog} --help")
        self.exit(2)


def add_verb(verbs: Any, noun: argparse.ArgumentParser, name: str, what: str) -> argparse.ArgumentParser:
    """A parser for a verb of `noun`; its examples are the noun's that begin with it."""
    own: argparse.ArgumentParser = verbs.add_parser(
        name, help=what, description=f"{what[:1].upper()}{what[1:]}."
    )
    lines = [line for line in (noun.description or "").splitlines() if f"{line} ".startswith(f"{own.prog} ")]
    own.epilog = "\n".join(["examples:", *(f"  {line}" for line in lines)]) if lines else None
    return own
