"""Odd values, as JSON text and as plain text: what devices, clients and actions send when they are at their worst.

Everything comes from a seeded generator, so that a run can be repeated. JSON is made as text and not
dumped from values: two of the same key, numbers that no double holds, half of a surrogate pair and text
that is no JSON at all have no value to be dumped from.
"""

from __future__ import annotations

import json
import random
from typing import Final

NUMBERS: Final = (
    "0", "-0", "1e5", "1E-400", "1e400", "-1e999", "1" + "0" * 30, "-" + "9" * 400, "9007199254740993",
    "18446744073709551616", "-9223372036854775809", "0.1", "5e-324", "1.7976931348623157e308", "123456789.123456789",
)  # fmt: skip
WRONG: Final = (
    "NaN",
    "Infinity",
    "-Infinity",
    "nan",
    "01",
    "+1",
    ".5",
    "1.",
    "0x10",
    "tru",
    "'a'",
    "",
    "undefined",
)
CHARACTERS: Final = (
    "a", "0", " ", "/", "\\", '"', "\0", "\x1e", "\x7f", "\u0085", "\u2028", "\ufeff", "\ufffd", "\uffff", "é", "ß",
    "日", "\U0001f600", "\U0010ffff", "\n", "\r\n", "\t", "$", "${HOME}", "%s", "%n", "__proto__", "{", "]", ",", ":",
)  # fmt: skip
ESCAPES: Final = (
    r"\ud800", r"\udc00", r"\ud83d\ude00", r"\ude00\ud83d", r"\uDBFF", r"\u0000", r"\\ud800", r"\\\ud800", r"\/", r"\ud83dx",
)  # fmt: skip
NAMES: Final = (
    "error", "statusCode", "body", "headers", "action", "params", "state", "topic", "payload", "device", "port",
    "retained", "taken_at", "value", "__ow_path", "__ow_body", "__proto__", "constructor", "toString", "then", "toJSON",
    "activationId", "namespace", "key", "", "length", "0", "_id", "t", "d", "ok",
)  # fmt: skip
DEPTHS: Final = (1, 2, 5, 60, 126, 127, 128, 250, 252, 253, 254, 255, 256, 300, 500, 900, 990, 997, 998, 999,
                 1000, 1001, 1010, 1021, 1022, 1023, 1024, 1025, 2000, 20_000)  # fmt: skip


class Values:
    """A stream of odd values."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self._wrong = 0.0

    def text(self, longest: int = 40) -> str:
        """Characters of every kind, but no surrogate: what UTF-8 can hold."""
        if self.chance.random() < 0.01:
            return self.chance.choice(("x", "日", "\0")) * self.chance.choice(
                (255, 256, 65_535, 65_536, 70_000)
            )
        return "".join(
            self.chance.choice(CHARACTERS)
            for _ in range(self.chance.randrange(self.chance.choice((1, 4, longest))))
        )

    def json(self, *, broken: float = 0.1) -> str:
        """JSON text; with the chance of `broken` it is none, or one that not every parser takes."""
        self._wrong = broken / 20  # of each part
        found = self._value(4)
        if self.chance.random() < 0.25:
            found = self._nested(found)
        if self.chance.random() < broken:
            found = self._damaged(found)
        return found

    def object(self, *, broken: float = 0.1) -> str:
        """The same, a JSON object."""
        self._wrong = broken / 20
        if self.chance.random() < 0.25:
            return f'{{"v":{self._nested(self._value(1))}}}'
        found = self._object(4)
        return self._damaged(found) if self.chance.random() < broken else found

    def bytes(self) -> bytes:
        """A payload of a device: JSON, text or neither."""
        which = self.chance.random()
        if which < 0.5:
            return self.object(broken=0.3).encode()
        if which < 0.75:
            return self.json(broken=0.3).encode()
        if which < 0.9:
            return self.text().encode()
        return self.chance.choice((b"", b"\xef\xbb\xbf{}", b'{"a":1}\0', b"\xff\xfe", b'"\xed\xa0\x80"')) or (
            self.chance.randbytes(self.chance.randrange(200))
        )

    def _value(self, depth: int) -> str:
        which = self.chance.random()
        if depth and which < 0.25:
            return self._object(depth - 1)
        if depth and which < 0.4:
            return "[" + ",".join(self._value(depth - 1) for _ in range(self.chance.randrange(4))) + "]"
        if which < 0.7:
            return self._string()
        if which < 0.9:
            return self.chance.choice(NUMBERS)
        if self.chance.random() < self._wrong:
            return self.chance.choice(WRONG)
        return self.chance.choice(("true", "false", "null", "{}", "[]", '""'))

    def _object(self, depth: int) -> str:
        members = []
        for _ in range(self.chance.randrange(5)):
            key = self._string() if self.chance.random() < 0.4 else json.dumps(self.chance.choice(NAMES))
            members += [f"{key}:{self._value(depth)}"] * (2 if self.chance.random() < 0.05 else 1)
        return "{" + ",".join(members) + "}"

    def _string(self) -> str:
        if self.chance.random() < 0.3:
            return (
                '"' + "".join(self.chance.choice(ESCAPES) for _ in range(self.chance.randrange(1, 4))) + '"'
            )
        return json.dumps(self.text(), ensure_ascii=self.chance.random() < 0.5)

    def _nested(self, inner: str) -> str:
        depth, kind = self.chance.choice(DEPTHS), self.chance.random()
        if kind < 0.5:
            return "[" * depth + inner + "]" * depth
        if kind < 0.8:
            return '{"a":' * depth + inner + "}" * depth
        return '[{"b":' * (depth // 2) + inner + "}]" * (depth // 2)

    def _damaged(self, text: str) -> str:
        at = self.chance.randrange(len(text) + 1)
        which = self.chance.randrange(5)
        if which == 0:
            return text[:at]
        if which == 1:
            return text[:at] + self.chance.choice(WRONG) + text[at:]
        if which == 2:
            return text + self.chance.choice(("\0", "}", ",", " x", "\n{}"))
        if which == 3:
            return "\ufeff" + text
        return text[:at] + self.chance.choice(CHARACTERS) + text[at:]
