"""Lists of activations: in pieces, so that large ones are never in memory as a whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.controller.activations import PIECE, Activations
from edgewhisk.entity.identity import AuthKey, Identity
from edgewhisk.errors import Forbidden
from edgewhisk.spi import Query
from tests.store.activations.test_activations import commit, open_store, record

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


def test_no_more_large_records_are_read_than_are_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path, max_bytes=1 << 28)
    for n in range(30):
        commit(store, record(n, size=LARGE))
    real, taken = store.records, [0]

    def counted(query: Query) -> Iterator[dict[str, Any]]:
        for one in real(query):
            taken[0] += 1
            yield one

    monkeypatch.setattr(store, "records", counted)

    async def read() -> None:
        found = await Activations(store).list(GUEST, Query("guest", limit=200), docs=True)
        assert taken[0] == 1
        assert found.more is not None
        sent = 1
        async for piece in found.more:
            sent += 1
            assert taken[0] <= sent
            assert len(piece) < PIECE + 2 * LARGE
        assert sent >= 30

    asyncio.run(read())
    store.close()


def test_the_list_of_another_is_refused_before_it_begins(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(Forbidden):
        asyncio.run(Activations(store).list(GUEST, Query("other"), docs=True))
    store.close()
