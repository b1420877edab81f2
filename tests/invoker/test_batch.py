"""Entries of a stream, divided and put together, lose nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.entity.invocation.message import ActivationMessage
from edgewhisk.entity.names import parse_name
from edgewhisk.invoker.batch import (
    PLACE,
    Batch,
    PendingBatch,
    by_stream,
    messages_of,
    places,
    split,
    stream_of,
)

ACTION = parse_name("/guest/a", "_")


def message(number: int, trigger: str = "/guest/t", size: int = 2) -> ActivationMessage:
    return ActivationMessage(f"{number:032x}", ACTION, "guest", "guest", b"x" * size, 0, trigger)


def entries_of(sizes: list[int]) -> list[PendingBatch]:
    found, number = [], 0
    for size in sizes:
        messages = [message(number + at, size=at * PLACE) for at in range(size)]
        number += size
        found.append(PendingBatch(messages, 0.0, places(messages)))
    return found


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(0, 25))
def test_what_is_split_is_whole_together(sizes: list[int], count: int) -> None:
    entries = entries_of(sizes)
    head, rest = split(entries, count)
    whole = list(messages_of(entries))
    assert [*messages_of(head), *messages_of(rest)] == whole
    assert len(messages_of(head)) == min(count, len(whole))
    assert sum(one.places for one in head + rest) == places(whole)
    assert all(one.messages for one in head + rest)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.data())
def test_a_batch_gives_up_what_is_behind_its_messages(sizes: list[int], data: st.DataObject) -> None:
    entries = entries_of(sizes)
    whole = list(messages_of(entries))
    batch = Batch(stream_of(whole[0]), entries)
    batch.messages = whole[: data.draw(st.integers(1, len(whole)))]
    rest = batch.leave()
    assert [*messages_of(batch.entries), *messages_of(rest)] == whole
    assert batch.places == places(batch.messages)


@given(st.lists(st.sampled_from(["/guest/t", "/guest/u", ""])))
def test_messages_keep_their_order_in_their_streams(triggers: list[str]) -> None:
    messages = [message(at, trigger) for at, trigger in enumerate(triggers)]
    for stream, found in by_stream(messages).items() if messages else ():
        assert list(found) == [one for one in messages if one.trigger == stream.trigger]
        assert stream.ordered == bool(stream.trigger)
