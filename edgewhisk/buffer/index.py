"""Where the activations of one segment are. Pure.

Sixteen bytes for each record, none of its text: the place and length of its text and four bytes of
its activation id. Built while a segment is written, or from a scan when somebody asks.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence

import orjson

from edgewhisk.buffer.journal import Frame

ACTIVATION = "A"  # op of a record; its number is the sequence number
_ID = b'"activationId":"'
_NAMESPACE = b'{"namespace":"'


def id_of(text: bytes) -> str:
    """The activation id in a record's text."""
    at = text.find(_ID)
    found = text[at + len(_ID) : at + len(_ID) + 32]
    if at >= 0 and len(found) == 32 and found.isalnum():
        return found.decode()
    value: str = orjson.loads(text)["activationId"]
    return value


def namespace_of(text: bytes) -> str:
    """The namespace in a record's text."""
    if text.startswith(_NAMESPACE):
        return text[len(_NAMESPACE) : text.index(b'"', len(_NAMESPACE))].decode()
    value: str = orjson.loads(text)["namespace"]
    return value


def fingerprint(activation_id: str) -> int:
    """Four bytes of an id: equal ids have equal ones."""
    return int(activation_id[:8], 16)


class Index:
    """The activations of one segment, in order of their numbers."""

    def __init__(self) -> None:
        """Of an empty segment."""
        self.numbers = array("Q")
        self.starts = array("I")
        self.lengths = array("I")
        self.fingerprints = array("I")
        self.namespaces: Counter[str] = Counter()

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> Index:
        """Of what a scan found."""
        index = cls()
        for frame in frames:
            if frame.op == ACTIVATION:
                index.add(frame)
        return index

    def __len__(self) -> int:
        """How many records; what is added last counts, for readers in other threads."""
        return len(self.fingerprints)

    def add(self, frame: Frame) -> None:
        """Append one record."""
        self.numbers.append(frame.number)
        self.starts.append(frame.start)
        self.lengths.append(len(frame.text))
        self.namespaces[namespace_of(frame.text)] += 1
        self.fingerprints.append(fingerprint(id_of(frame.text)))

    def find(self, mark: int) -> Iterator[int]:
        """Positions of the records with this fingerprint: nearly always none or one."""
        at = -1
        marks = self.fingerprints
        for _ in range(marks.count(mark)):
            at = marks.index(mark, at + 1)
            yield at
