"""What stands under topic filters, found by a topic in a time that does not grow with their number. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

V = TypeVar("V")


@dataclass(slots=True)
class _Node(Generic[V]):
    """A level of filters."""

    below: dict[str, _Node[V]] = field(default_factory=dict)
    values: dict[V, None] = field(default_factory=dict)  # of the filters that end here, in order


class TopicTree(Generic[V]):
    """Values by topic filter (MQTT 3.1.1, section 4.7)."""

    def __init__(self) -> None:
        """None yet."""
        self._root: _Node[V] = _Node()

    def add(self, wanted: str, value: V) -> None:
        """Put `value` under the filter `wanted`."""
        node = self._root
        for level in wanted.split("/"):
            node = node.below.setdefault(level, _Node())
        node.values[value] = None

    def remove(self, wanted: str, value: V) -> None:
        """Take `value` from under the filter, if it is there."""
        path = [self._root]
        levels = wanted.split("/")
        for level in levels:
            node = path[-1].below.get(level)
            if node is None:
                return
            path.append(node)
        path[-1].values.pop(value, None)
        for node, level in zip(reversed(path[:-1]), reversed(levels), strict=True):
            below = node.below[level]
            if below.below or below.values:
                return
            del node.below[level]

    def find(self, topic: str) -> Iterator[V]:
        """The values of all filters that match; one that stands under several comes several times."""
        nodes = [self._root]
        for at, level in enumerate(topic.split("/")):
            wild = bool(at) or not level.startswith("$")  # 4.7.2: `#` and `+` first do not match `$SYS`
            found: list[_Node[V]] = []
            fitting = {level, "+"} - {"#"} if wild else {level}
            for node in nodes:
                if wild and (rest := node.below.get("#")) is not None:
                    yield from rest.values
                found += [node.below[one] for one in fitting if one in node.below]
            nodes = found
        for node in nodes:
            yield from node.values
            if (rest := node.below.get("#")) is not None:  # 4.7.1.2: it matches the level above, too
                yield from rest.values
