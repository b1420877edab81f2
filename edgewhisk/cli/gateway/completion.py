"""Print a script that completes commands and options with the tab key.

eval "$(edgewhisk completion bash)"          # also zsh; put it into ~/.bashrc or ~/.zshrc
edgewhisk completion fish | source
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping


def options(parser: argparse.ArgumentParser) -> None:
    """The shell."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Print the script."""
    from edgewhisk.cli import full_parser

    del environment
    words = dict(_words(full_parser(), ()))
    print(_fish(words) if given.shell == "fish" else _bash(words, zsh=given.shell == "zsh"))
    return 0


def _words(
    parser: argparse.ArgumentParser, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """What may follow each command: verbs, options."""
    found: list[str] = []
    for action in parser._actions:
        found += [option for option in action.option_strings if option.startswith("--")]
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                found.append(name)
                yield from _words(below, (*path, name))
        elif action.choices and not action.option_strings:
            found += map(str, action.choices)
    yield path, found


def _bash(words: Mapping[tuple[str, ...], list[str]], *, zsh: bool) -> str:
    cases = "\n".join(
        f'    "{" ".join(path)}") words="{" ".join(found)}" ;;' for path, found in words.items()
    )
    start = "autoload -U +X bashcompinit && bashcompinit\n" if zsh else ""
    return f"""{start}_edgewhisk() {{
  local words="" path="" word index
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="${{COMP_WORDS[index]}}"
    case "$word" in -*) ;; *) [ "$(_edgewhisk_path "$path $word")" ] && path="${{path:+$path }}$word" ;; esac
  done
  case "$path" in
{cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
_edgewhisk_path() {{
  case "${{1# }}" in
    {"|".join(f'"{" ".join(path)}"' for path in words if path)}) echo yes ;;
  esac
}}
complete -o default -F _edgewhisk edgewhisk"""


def _fish(words: Mapping[tuple[str, ...], list[str]]) -> str:
    lines = ["complete -c edgewhisk -e"]
    for path, found in words.items():
        if path:
            condition = " && ".join(f"__fish_seen_subcommand_from {word}" for word in path)
        else:
            condition = "__fish_use_subcommand"
        verbs = " ".join(word for word in found if not word.startswith("--"))
        if verbs:
            below = " ".join(word for word in found if not word.startswith("--"))
            own = condition if not path else f"{condition} && not __fish_seen_subcommand_from {below}"
            lines.append(f"complete -c edgewhisk -f -n '{own}' -a '{verbs}'")
        lines += [
            f"complete -c edgewhisk -n '{condition}' -l {word[2:]}" for word in found if word.startswith("--")
        ]
    return "\n".join(lines)
