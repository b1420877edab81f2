"""Words that are wrong say what was meant; every verb has examples that are right; help fits a terminal."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Iterator

import pytest

from edgewhisk.cli import VERBS, main, parser_of

ALONE = {"run", "demo", "status", "check", "list", "deploy", "undeploy", "auth", "wskprops", "completion"}


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Every verb below a parser that has none below itself."""
    below = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    if not below:
        yield parser
    for action in below:
        for one in action.choices.values():
            yield from leaves(one)


def nouns() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for verb in VERBS:
        (action,) = (one for one in parser_of(verb)._actions if isinstance(one, argparse._SubParsersAction))
        yield verb, action.choices[verb]


def examples(text: str) -> list[str]:
    """The commands in a help text, without what they are for."""
    found = re.findall(r"^ *(edgewhisk .+)$", text, re.MULTILINE)
    return [re.split(r"\s{3,}| \||  #|\s>", one)[0] for one in found]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("acton list", "there is no command 'acton'; did you mean action"),
        (
            "action lst",
            "edgewhisk action: there is no command 'lst'; did you mean list?".removeprefix("edgewhisk "),
        ),
        ("action list --jsn", "there is no option --jsn; did you mean --json?"),
        ("action list --limt=5", "there is no option --limt; did you mean --limit?"),
        ("action list a b", "there is no word b here"),
        ("package create x --shared maybe", "there is no choice 'maybe' (yes, no)"),
        ("zzz", "there is no command 'zzz' (run, demo"),
        ("action create", "the following arguments are required: name"),
        ("", "the following arguments are required: VERB"),
    ],
)
def test_mistakes_say_what_was_meant(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert told in shown
    assert "--help" in shown


@pytest.mark.parametrize("words", ["help", "help action", "help action create", "action create --help"])
def test_help_is_a_word_too(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "usage: edgewhisk" in shown
    assert "examples:" in shown or "edgewhisk action create chain" in shown


@pytest.mark.parametrize("word", ["", "\0", "\ud800", "x" * 100_000, "-", "--=", "é" * 99])
def test_odd_words_are_mistakes_like_others(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([word], ["action", word], ["action", "list", word, word]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
    assert "hint:" in capsys.readouterr().err


def test_every_verb_has_examples_which_can_be_typed() -> None:
    for name, noun in nouns():
        for leaf in leaves(noun):
            shown = examples(leaf.format_help())
            assert shown, leaf.prog
            assert [one for one in shown if not one.startswith(leaf.prog)] == [] or name in ALONE
            for one in shown:
                words = shlex.split(one)[1:]
                parser_of(words[0]).parse_args(words)


@pytest.mark.parametrize("columns", [60, 100])
def test_help_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for _, noun in nouns():
        for parser in (noun, *leaves(noun)):
            wide = [line for line in parser.format_help().splitlines() if len(line) > columns]
            # a command in an example is one word to whoever copies it
            assert [line for line in wide if not line.strip().startswith(("edgewhisk ", "eval "))] == []
    assert os.environ["COLUMNS"] == str(columns)
