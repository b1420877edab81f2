"""JSON as this program takes and writes it: one contract for every door. Pure, and the only door to orjson.

The contract is OpenWhisk's (a controller was asked) and stands in `api/README.md`. orjson does the work;
what it refuses though JSON or OpenWhisk allows it goes a slow way here. orjson reads 1,024 levels of nesting,
writes 254, and knows neither lone surrogates nor integers beyond 64 bits. A value may have `LEVELS`; what
is put around it (a record, a batch of them, a document) stays below orjson's own limit.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from functools import partial
from math import isinf
from typing import Any, Final, NamedTuple

import orjson

LEVELS: Final = 1000  # of nesting that a value from outside may have
Fragment = orjson.Fragment  # text that `dumps` puts in as it is
exact: Final = orjson.loads  # for what is short and nearly always right; raises `ValueError` for what is odd
_READ: Final = 1024  # levels that orjson reads
# `==`, `repr` and `str` of a value take a level of Python's own for each of its levels; 1,000 are the usual
# limit. None of them needs over 0.5 MB of stack for what `_READ` lets through.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 5000))
_BLANK: Final = b" \t\r\n"
_BOM: Final = b"\xef\xbb\xbf"
_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"?'
_NUMBER: Final = rb"-?[0-9][0-9.eE+-]*+"
_TOKEN: Final = re.compile(
    _STRING + rb"|[\[{\]}]|[+-]?\b(?:nan|inf(?:inity)?)\b|" + _NUMBER, re.DOTALL | re.IGNORECASE
)
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
_CONTROL: Final = re.compile(rb"[\0-\x1f]")
_HUGE: Final = re.compile(rb"[0-9]{309}|[0-9][eE]\+?0*[1-9][0-9]{2}")
_DEPTH_ERRORS: Final = ("depth limit", "Recursion limit")  # words of orjson 3.13, of earlier ones
_UNCLOSED: Final = "failed to allocate memory"  # what orjson 3.13 says of hundreds of levels without an end
_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_OPENING: Final = (b"[", b"{")
_CONTAINER: Final = b"[{"
_LF: Final = 0x0A
_CR: Final = 0x0D
_CLOSING: Final = (b"]", b"}")


class NotJson(ValueError):
    """A text is no JSON; says what is wrong and where."""


class TooDeep(NotJson):
    """A text nests more deeply than it may."""

    def __init__(self, levels: int) -> None:
        """OpenWhisk's text, of which `levels` are allowed."""
        super().__init__(
            "JSON input nested too deeply:JSON input was nested more deeply than the configured limit of "
            f"maxNesting = {levels}"
        )


class Parsed(NamedTuple):
    """A value from outside."""

    value: Any
    text: bytes  # that every reader takes, on one line
    replaced: int = 0  # odd parts that something else stands for now


_parsed: Final = partial(tuple.__new__, Parsed)  # in a third of the time


def loads(text: bytes | str) -> Any:
    """Returns the value of a text that this program wrote; raises `NotJson`.

    Where a text of an earlier version is odd, something stands for the odd part, as in `parse_odd`.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return parse_odd(text.encode(errors="replace") if isinstance(text, str) else text, _READ).value


def parse(data: bytes, levels: int = LEVELS) -> Parsed:
    """Reads a value from outside; raises `NotJson`, `TooDeep` beyond `levels`.

    Lone surrogates become `?`, numbers beyond a double null. Of two equal keys the last one counts.
    """
    try:
        parsed = Parsed(orjson.loads(data), data)
    except orjson.JSONDecodeError as error:
        if str(error).startswith(_DEPTH_ERRORS):
            raise TooDeep(levels) from None
        if str(error).startswith(_UNCLOSED):
            _Mending(levels, lenient=False, cut=False).read(data)  # raises `TooDeep`
            raise NotJson(f"unexpected end of data: {str(error).partition(': ')[2]}") from None
        parsed = _parsed_again(data, levels, error)
    if is_deeper(parsed.text, levels):
        raise TooDeep(levels)
    return parsed._replace(text=one_line(parsed.text))


def parse_odd(data: bytes, levels: int = LEVELS, *, cut: bool = True, endless: bytes = b"null") -> Parsed:
    """Reads what a device said, as far as it can be understood; raises `NotJson`.

    Replaces and counts, besides what `parse` does: a byte order mark and zero bytes behind the text (left
    out), bytes that are no UTF-8 (U+FFFD), control characters in strings (escaped), NaN and Infinity
    (`endless`), and what is nested more deeply than `levels` (null; `TooDeep` without `cut`).
    """
    try:
        value = orjson.loads(data)
        if len(data) < 2 * levels or not is_deeper(data, levels):
            return _parsed((value, one_line(data), 0))
    except orjson.JSONDecodeError:
        pass
    plain = data.removeprefix(_BOM).rstrip(b"\0" + _BLANK)
    count = int(len(plain) != len(data.rstrip(_BLANK)))
    whole = decoded(plain).encode()
    count += whole != plain
    parsed = _mended(whole, _Mending(levels, lenient=True, cut=cut, endless=endless))
    return parsed._replace(text=one_line(parsed.text), replaced=parsed.replaced + count)


def dumps(
    value: Any, default: Callable[[Any], Any] | None = None, *, any_key: bool = False, indent: bool = False
) -> bytes:
    """Returns the text of a value; raises `TypeError` for what is no JSON, `TooDeep` beyond 1,024 levels.

    `default` gives a value for what is none; `any_key`: scalars are keys, too; `indent`: two spaces a level.
    """
    option = (orjson.OPT_NON_STR_KEYS if any_key else 0) | (orjson.OPT_INDENT_2 if indent else 0)
    try:
        return orjson.dumps(value, default, option)
    except TypeError:
        return _written(value, default, any_key=any_key)


def kept(value: Any) -> bytes:
    """Returns the text of a value that stays in memory: orjson 3.13 leaves 4 KB allocated for a short one."""
    return bytes(memoryview(dumps(value)))


def are_plain(texts: Iterable[bytes]) -> bool:
    """Whether each is an object or array that every reader takes as it is, on one line. 0.2 us each."""
    last = b""
    for text in texts:
        if text == last:
            continue
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError:
            return False
        if text[0] not in _CONTAINER or _LF in text or _CR in text:
            return False
        if len(text) >= 2 * LEVELS and is_deeper(text, LEVELS):
            return False
        last = text
    return True


def one_line(text: bytes) -> bytes:
    """Returns a JSON text without the white space around it and without line breaks."""
    text = text.strip(_BLANK)
    # Inside a string JSON has no raw line break. Looking for a number is seven times as fast as for bytes.
    if _LF in text or _CR in text:
        return text.replace(b"\n", b" ").replace(b"\r", b" ")
    return text


def sayable(text: str) -> str:
    """Returns text that UTF-8 can say: halves of a pair joined, lone surrogates as `?`."""
    joined = _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
    return joined.encode(errors="replace").decode()


def decoded(data: bytes) -> str:
    """Returns text from outside: lone surrogates as `?`, U+FFFD for what else is no UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    try:
        return sayable(data.decode(errors="surrogatepass"))
    except UnicodeDecodeError:
        return data.decode(errors="replace")


def is_deeper(text: bytes, levels: int) -> bool:
    """Whether a JSON text nests more deeply: orjson counts, its limit lowered by levels around the text."""
    if text.count(b"[") + text.count(b"{") <= levels:
        return False
    try:
        orjson.loads(b"[" * (_READ - levels) + text + b"]" * (_READ - levels))
    except orjson.JSONDecodeError:
        return True
    return False


class _Mending:
    """Puts something in place of what is odd in a text; counts it."""

    def __init__(self, levels: int, *, lenient: bool, cut: bool, endless: bytes = b"null") -> None:
        """`lenient`: whatever `parse_odd` mends, else what `parse` does; raises `TooDeep` without `cut`."""
        self._endless = endless
        self._levels = levels
        self._cut = cut
        self._lenient = lenient
        self.replaced = 0

    def read(self, text: bytes) -> bytes:
        """Returns the text mended; it is no JSON if it was none for other reasons."""
        parts: list[bytes] = []
        depth = done = 0
        for found in _TOKEN.finditer(text):
            token = other = found[0]
            if token in _OPENING:
                depth += 1
                if depth > self._levels and not self._cut:
                    raise TooDeep(self._levels)
                other = b"null" if depth == self._levels + 1 else token
            elif token in _CLOSING:
                done = found.end() if depth == self._levels + 1 else done
                depth -= 1
            elif depth <= self._levels:
                other = self._other(token)
            if other != token:
                parts += text[done : found.start()], other
                done = found.end()
                self.replaced += 1
        return b"".join((*parts, text[done:]))

    def _other(self, token: bytes) -> bytes:
        if token[:1] == b'"':
            token = _unpaired(token)
            return _CONTROL.sub(lambda one: b"\\u%04x" % ord(one[0]), token) if self._lenient else token
        if not token[-1:].isalpha():
            return self._endless if _is_endless(token) else token
        return self._endless if self._lenient else token


def _parsed_again(data: bytes, levels: int, error: ValueError) -> Parsed:
    """As `parse`, of what orjson refused with `error`; the quick ways first."""
    if b"\\u" in data:  # a backslash can only stand in a string
        data = _unpaired(data)
        try:
            return Parsed(orjson.loads(data), data)
        except orjson.JSONDecodeError as other:
            error = other
    if not _HUGE.search(data):
        raise NotJson(str(error)) from None
    return _mended(data, _Mending(levels, lenient=False, cut=False))


def _unpaired(text: bytes) -> bytes:
    """JSON with `?` for each escape of half a pair."""
    return _ESCAPE.sub(lambda escape: b"?" if escape["lone"] else escape[0], text)


def _mended(text: bytes, mending: _Mending) -> Parsed:
    """Reads a text once it is mended; raises `NotJson`."""
    text = mending.read(text)
    try:
        return Parsed(orjson.loads(text), text, mending.replaced)
    except orjson.JSONDecodeError as error:
        raise NotJson(str(error)) from None


def _is_endless(number: bytes) -> bool:
    """Whether no double holds a number."""
    try:
        return isinf(float(number))
    except ValueError:  # none: told by the parser
        return False


class _Ready(bytes):
    """Text that stands as it is."""


def _written(value: Any, default: Callable[[Any], Any] | None, *, any_key: bool) -> bytes:
    """As `dumps`, of what orjson refuses: part by part, without recursion."""
    parts: list[bytes] = []
    todo: list[Any] = [value]
    depth = 0
    while todo:
        one = todo.pop()
        if type(one) is _Ready:
            depth -= one in _CLOSING
            parts.append(one)
        elif isinstance(one, dict | list | tuple):
            depth += 1
            if depth > _READ:
                raise TooDeep(_READ)
            todo.extend(reversed(_steps(one, any_key=any_key)))
        else:
            text = _scalar(one)
            if text is None and default is None:
                raise TypeError(f"a {type(one).__name__} is no JSON")
            todo.append(_Ready(text) if text is not None else default(one) if default else None)
    return b"".join(parts)


def _steps(one: Any, *, any_key: bool) -> list[Any]:
    """The texts and values of a container, in order."""
    found: list[Any] = []
    if not isinstance(one, dict):
        for item in one:
            found += _Ready(b","), item
        return [_Ready(b"["), *found[1:], _Ready(b"]")]
    for key, item in one.items():
        name = key if isinstance(key, str) or not any_key else (_scalar(key) or b"").decode()
        if not isinstance(name, str):
            raise TypeError(f"a key must be text, not {type(key).__name__}")
        found += _Ready(b","), _Ready(orjson.dumps(sayable(name)) + b":"), item
    return [_Ready(b"{"), *found[1:], _Ready(b"}")]


def _scalar(one: Any) -> bytes | None:
    """The text of what holds nothing else; None if there is none. Integers keep all digits."""
    if isinstance(one, str):
        return orjson.dumps(sayable(one))
    try:
        return orjson.dumps(one)
    except TypeError:
        if not isinstance(one, int):
            return None
    try:
        float(one)
    except OverflowError:  # beyond a double
        return b"null"
    return b"%d" % one
