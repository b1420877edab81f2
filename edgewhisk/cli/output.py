"""How the command line talks: results on stdout, everything else on stderr, colours on terminals."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

_COLOURS: Final = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "dim": "2"}


def complain(text: str, hint: str = "") -> None:
    """Say what is wrong, on stderr."""
    print(f"{paint('edgewhisk:', 'red', sys.stderr)} {text}", file=sys.stderr)
    if hint:
        print(f"  hint: {hint}", file=sys.stderr)


def note(text: str) -> None:
    """Say something by the way, on stderr."""
    print(paint(text, "dim", sys.stderr), file=sys.stderr)


def done(text: str, *, quiet: bool = False) -> None:
    """Say that something worked."""
    if not quiet:
        print(f"{paint('ok:', 'green')} {text}")


def document(value: Any) -> None:
    """Print JSON."""
    print(shown_json(value, indent=4))


def shown_json(value: Any, indent: int | None = None) -> str:
    """JSON as people read it: with blanks, and with lines where `indent` is given."""
    import json

    return json.dumps(value, indent=indent, ensure_ascii=False)


def paint(text: str, colour: str, stream: Any = None) -> str:
    """`text` in a colour, if the stream is a terminal."""
    terminal = (stream or sys.stdout).isatty()
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if terminal else text


def width() -> int:
    """Columns of the terminal that results are shown on; 0 if they go elsewhere, where nothing is cut."""
    if not sys.stdout.isatty():
        return 0
    import shutil

    return shutil.get_terminal_size().columns


def table(title: str, rows: Iterable[Sequence[str]]) -> None:
    """A list as `wsk` prints it: a title, then aligned columns; each row by itself where they do not fit."""
    print(paint(title, "bold"))
    cells = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)] if cells else []
    if width() and sum(widths) + 2 * len(widths) - 2 > width():
        for row in cells:
            print("\n".join(wrapped(row, width())))
        return
    for row in cells:
        print("  ".join(cell.ljust(most) for cell, most in zip(row, widths, strict=True)).rstrip())


def fitted(lines: Iterable[str]) -> list[str]:
    """Lines as they are, folded at spaces where a terminal is narrower."""
    columns, made = width(), list[str]()
    for line in lines:
        begin = line[: len(line) - len(line.lstrip())]
        fits = not columns or len(line) <= columns
        made += (
            [line] if fits else wrapped([begin + line.split(maxsplit=1)[0], *line.split()[1:]], columns, " ")
        )
    return made


def wrapped(words: Iterable[str], columns: int, between: str = "  ", indent: str = "    ") -> list[str]:
    """Lines of at most so many columns, of words that stay whole; all but the first are indented."""
    lines: list[str] = []
    for word in filter(None, words):
        if lines and len(lines[-1]) + len(between) + len(word) <= columns:
            lines[-1] += between + word
        else:
            lines.append(indent * bool(lines) + word)
    return lines
