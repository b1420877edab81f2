"""How feeds read the parameters of a trigger: all that is wrong is told at once. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from edgewhisk.config.table import Table
from edgewhisk.errors import Fault, FeedError

SHAPE = "shape"  # a parameter of every feed, which `feed/shaping` reads


@contextlib.contextmanager
def asked(given: Mapping[str, Any], known: Collection[str] | None = None, path: str = "") -> Iterator[Table]:
    """What was given, to be read in the block; raises `FeedError` at its end, naming all that is wrong.

    Of the keys only those `known` may be there; None: the block calls `rest`. A `FeedError` of the block ends
    it, and is told behind what was found before.
    """
    faults: list[Fault] = []
    table = Table(dict(given), "", path, faults)
    if known is not None:
        table.rest({*known, SHAPE})
    last: list[str] = []
    try:
        yield table
    except FeedError as error:
        if not faults:
            raise
        last.append(str(error))
    if faults:
        raise FeedError("; ".join([*(f"{fault.key} {fault.problem}" for fault in faults), *last]))
