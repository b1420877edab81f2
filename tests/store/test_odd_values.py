"""Stores with values that an earlier version wrote and could not read again: they are read now."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.entity.activation import Record, document_of, listing_of
from edgewhisk.errors import MalformedContent
from edgewhisk.jsontext import NotJson, dumps, loads, parse, parse_odd
from edgewhisk.spi import Change, Query, SyncBatch
from edgewhisk.store.activations.log_state import EVENT, event_frame
from edgewhisk.store.documents import entity_store
from edgewhisk.store.documents.entity_store import EntityStore
from edgewhisk.store.export import export
from edgewhisk.store.log.frames import Frame
from tests import odd
from tests.store.activations.test_activations import commit, message, open_store, record

VALUES = [*odd.TEXTS.values(), *odd.TOO_DEEP.values(), '{"t":NaN}', '["\\udc00"]']


def with_result(number: int, text: str) -> Record:
    """A record whose result stands in it as an earlier version spliced it."""
    good = record(number)
    result = dumps(loads(good.text)["response"]["result"])
    return good._replace(text=good.text.replace(result, text.replace("\n", " ").replace("\r", " ").encode()))


def test_records_are_listed_found_and_sent(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    commit(store, *(with_result(number, text) for number, text in enumerate(VALUES, 1)), record(100))
    store.close()
    store = open_store(tmp_path)
    listed = store.list(Query("guest", limit=200))
    assert [one["start"] for one in listed] == [100, *range(len(VALUES), 0, -1)]
    for one in listed:
        assert store.get(one["activationId"]) == one
        parse(dumps(one), 1024)
    sent = store.pending(1000, 1 << 24)
    assert len(sent.records) == len(listed)
    assert [loads(text)["start"] for text in sent.records] == [one["start"] for one in listed[::-1]]
    store.close()
    assert sum(bool(one.line) for one in export(tmp_path)) == len(listed)


def test_events_that_wait_are_run(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    waiting = [
        message(number)._replace(payload=text.replace("\n", " ").replace("\r", " ").encode())
        for number, text in enumerate(VALUES, 1)
    ]
    done: list[Any] = []
    store.accept(waiting, done.append, urgent=True)
    store.close()
    assert done == [None]
    store = open_store(tmp_path)
    assert [one.payload for one in store.unfinished()] == [one.payload for one in waiting]
    store.close()


def test_entities_and_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = EntityStore.open(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(entity_store, "_key", _as_before)
        for number, text in enumerate(VALUES):
            store._commit([entity_store._written("actions", number + 1, _entry(number, text))])
    store.close()
    store = EntityStore.open(tmp_path)
    assert list(store.read("actions")) == [str(number) for number in range(len(VALUES))]
    store.write([Change("actions", "0", {"v": odd.SAMPLES["nested 990"]}), Change("actions", "1", None)])
    store.close()
    store = EntityStore.open(tmp_path)
    assert store.read("actions")["0"] == {"v": odd.SAMPLES["nested 990"]}
    assert "1" not in store.read("actions")
    store.close()


def _entry(number: int, text: str) -> bytes:
    return b'{"key":"%d","document":{"v":%b}}' % (number, text.replace("\n", " ").replace("\r", " ").encode())


def _as_before(text: bytes) -> str:
    return text.split(b'"')[3].decode()


FOREIGN = {
    **loads(record(1).text),
    "version": "0.0.1",
    "subject": "guest",
    "duration": 1,
    "logs": ["x"],
    "publish": False,
    "cause": "",
    "surplus": {"activationId": "y" * 32, "start": "z"},
}
ODD: list[Any] = [
    *odd.SAMPLES.values(),
    2**63,
    -1,
    10**17,
    None,
    True,
    [1],
    [{}],
    [{"key": "path", "value": 5}],
]


@pytest.mark.parametrize("key", [*FOREIGN, "response.result", "response.statusCode"])
def test_records_that_others_send_are_taken_or_refused(tmp_path: Path, key: str) -> None:
    """Whatever stands in them: the store goes on, lists them, and starts again."""
    store, have = open_store(tmp_path), 0
    for number, value in enumerate(ODD, 1):
        sent: dict[str, Any] = {**FOREIGN, "activationId": f"{number:032x}"}
        outer, _, inner = key.partition(".")
        sent[outer] = {**sent[outer], inner: value} if inner else value
        for order in (sent, dict(reversed(sent.items()))):
            text = dumps(parse_odd(odd.text_of(order).encode()).value)
            with suppress(MalformedContent):
                have = store.absorb("d" * 32, "e" * 32, SyncBatch(have + 1, (text,)))
    commit(store, record(1000))
    listed = store.list(Query("guest", limit=200))
    assert listed[0]["start"] == 1000 or key == "start"
    for one in listed:
        assert document_of(one)["response"] is not None
        assert listing_of(one)["name"] == one["name"]
        assert "logs" in one or one["start"] == 1000
    assert len(store.pending(1000, 1 << 24).records) >= len(listed)
    store.close()
    store = open_store(tmp_path)
    assert store.list(Query("guest", limit=200)) == listed
    store.close()


@pytest.mark.parametrize("values", [VALUES])
def test_they_are_what_could_not_be_read(values: Sequence[str]) -> None:
    refused = 0
    for text in values:
        try:
            parse(text.encode())
        except NotJson:
            refused += 1
    assert refused == len(odd.TOO_DEEP) + 1


@pytest.mark.parametrize("text", ["5", "{}", "[", '{"action":5}', '{"action":"/guest/a","at":"x"}'])
def test_an_accepted_event_that_cannot_be_read_ends_as_a_loss_that_is_told(text: str, tmp_path: Path) -> None:
    key = "e" * 32
    broken = Frame(EVENT, 0, b'{"id":"%b","x":%b' % (key.encode(), text.encode()))
    store = open_store(tmp_path)
    store._commit([broken, *(event_frame(message(n), store._clock.timing) for n in (1, 2))])
    store.close()
    store = open_store(tmp_path)
    assert store.stats().unfinished == 3
    assert [one.activation_id for one in store.unfinished()] == [message(n).activation_id for n in (1, 2)]
    assert any(key in line for line in store.incidents)
    store.close()
    again = open_store(tmp_path)  # and not in each life again
    assert again.stats().unfinished == 2
    assert again.stats().lanes["normal"]["damaged"] == 1
    assert len(again.unfinished()) == 2
    (told,) = [one for one in again.list(Query("guest", limit=100)) if one["name"] == "loss"]
    assert (told["response"]["result"]["reason"], told["response"]["result"]["count"]) == ("damaged", 1)
    again.close()
