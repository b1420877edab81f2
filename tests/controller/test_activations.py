"""Lists of activations: in pieces, so that large ones are never in memory as a whole."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from pathlib import Path

import pytest

from edgewhisk.controller.activations import PIECE, Activations
from edgewhisk.entity.identity import AuthKey, Identity
from edgewhisk.errors import Forbidden
from edgewhisk.spi import Query
from tests.buffer.test_activations import commit, open_store, record

GUEST = Identity("guest", "guest", AuthKey("0" * 8 + "-0000-0000-0000-" + "0" * 12, "k" * 64))
LARGE = 1 << 20  # bytes of a record


async def pieces(listed: Activations, query: Query, *, docs: bool) -> list[bytes]:
    found = await listed.list(GUEST, query, docs=docs)
    return [found.begin, *([piece async for piece in found.more] if found.more is not None else [])]


@pytest.mark.parametrize("docs", [True, False])
@pytest.mark.parametrize(
    ("count", "size"), [(0, 0), (1, 0), (30, 100), (4, LARGE), (3, PIECE // 3), (40, PIECE // 40)]
)
def test_pieces_are_one_array(tmp_path: Path, count: int, size: int, docs: bool) -> None:
    store = open_store(tmp_path)
    if count:
        commit(store, *(record(n, size=size) for n in range(count)))
    got = asyncio.run(pieces(Activations(store), Query("guest", limit=200), docs=docs))
    found = json.loads(b"".join(got))
    assert [one["start"] for one in found] == list(range(count))[::-1]
    assert all(("response" in one) is docs for one in found)
    store.close()


@pytest.mark.parametrize("docs", [True, False])
def test_a_list_of_large_records_takes_the_memory_of_a_few(tmp_path: Path, docs: bool) -> None:
    store = open_store(tmp_path, max_bytes=1 << 28)
    for n in range(60):
        commit(store, record(n, size=LARGE))

    async def read() -> int:
        found = await Activations(store).list(GUEST, Query("guest", limit=200), docs=docs)
        total = len(found.begin)
        if found.more is not None:
            async for piece in found.more:
                total += len(piece)
                assert len(piece) < PIECE + 2 * LARGE
        return total

    tracemalloc.start()
    total = asyncio.run(read())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (total > 60 * LARGE) is docs
    assert peak < 16 * LARGE
    store.close()


def test_the_list_of_another_is_refused_before_it_begins(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(Forbidden):
        asyncio.run(Activations(store).list(GUEST, Query("other"), docs=True))
    store.close()
