"""Topics of profiles: `tele/{id}/SENSOR` is the filter `tele/+/SENSOR` whose levels have names. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from edgewhisk.base.mqtt_topics import check_filter

_NAMED: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Pattern(NamedTuple):
    """A filter with names for some of its levels."""

    filter: str  # with + for the named levels, and $share/GROUP/ before it if it is shared
    names: tuple[tuple[int, str], ...]  # level -> name

    @property
    def plain(self) -> str:
        """The filter that topics are matched against: without `$share/GROUP/` (MQTT 5, 4.8.2)."""
        return self.filter.split("/", 2)[2] if self.filter.startswith("$share/") else self.filter

    def parts(self, topic: str) -> Mapping[str, str]:
        """The named levels of a topic that matches."""
        levels = topic.split("/")
        return {name: levels[at] for at, name in self.names if at < len(levels)}


def pattern(text: object) -> Pattern:
    """Read a filter with `{name}` for a whole level; raises `FeedError`."""
    names: list[tuple[int, str]] = []
    if not isinstance(text, str):
        return Pattern(check_filter(text), ())
    levels = text.split("/")
    skipped = 2 if levels[0] == "$share" else 0
    for at, level in enumerate(levels):
        if match := _NAMED.fullmatch(level):
            names.append((at - skipped, match.group(1)))
            levels[at] = "+"
    return Pattern(check_filter("/".join(levels)), tuple(names))
