"""The events that edgewhisk/feed/README.md shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from edgewhisk import feed

_README: Final = (Path(feed.__file__).parent / "README.md").read_text()
_BLOCK: Final = re.compile(r"^    (\{\".+?\})$(?=\n\n)", re.MULTILINE | re.DOTALL)
EVENTS: Final[list[dict[str, Any]]] = [json.loads(block) for block in _BLOCK.findall(_README)]


def example(**wanted: Any) -> dict[str, Any]:
    """Returns the only event shown that has these values, and those keys whose value is `...`."""
    found = [
        event
        for event in EVENTS
        if all(key in event and value in (..., event[key]) for key, value in wanted.items())
    ]
    assert len(found) == 1, (wanted, found)
    return found[0]
