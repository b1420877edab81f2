"""What the gateway itself says of an event, which nothing that a source sent may replace. Pure.

An action tells devices apart by `topic` or `device`, and a call over the web from a message by `__ow_method`:
a device that could set them could pose as another one, or as a caller that was let in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgewhisk.entity.web import RESERVED

REQUEST: Final = RESERVED  # what is said of a request over HTTP; a message of a source is none


def beside(
    facts: Mapping[str, Any], given: Mapping[str, Any], reserved: frozenset[str] = REQUEST
) -> dict[str, Any]:
    """`facts`, then what was `given`, whose keys that are taken or `reserved` get `_` behind their names."""
    if reserved.isdisjoint(given) and facts.keys().isdisjoint(given):
        return {**facts, **given}
    taken, found = reserved.union(facts), dict(facts)
    used = taken.union(given)
    for key, value in given.items():
        name = key
        while key in taken and name in used:
            name += "_"
        used |= {name}
        found[name] = value
    return found
