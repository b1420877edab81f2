"""What is remembered is bounded by its number and its weight, whatever is kept, found and dropped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.base.recent import Recent

KEYS = st.integers(0, 5)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("keep"), KEYS, st.integers(0, 30)),
        st.tuples(st.sampled_from(["touch", "drop"]), KEYS, st.just(0)),
        st.tuples(st.just("clear"), st.just(0), st.just(0)),
        st.tuples(st.just("drop those below"), KEYS, st.just(0)),
    )
)


@given(st.integers(1, 4), st.integers(0, 40), STEPS)
def test_as_a_list_would(most: int, heaviest: int, steps: list[tuple[str, int, int]]) -> None:
    recent = Recent[int, object](most, heaviest)
    model: list[tuple[int, int, object]] = []  # key, weight, value; the oldest first
    for what, key, weight in steps:
        same = [one for one in model if one[0] == key]
        if what == "clear":
            recent.clear()
            model = []
        elif what == "touch":
            recent.touch(key)
            model = [one for one in model if one[0] != key] + same
        elif what == "drop those below":
            recent.drop_where(lambda one, key=key: one < key)  # type: ignore[misc]
            model = [one for one in model if one[0] >= key]
        elif what == "drop":
            recent.drop(key)
            model = [one for one in model if one[0] != key]
        else:
            value = object()
            gone = recent.keep(key, value, weight)
            model = [one for one in model if one[0] != key] + [(key, weight, value)]
            count = next(
                at
                for at in range(len(model))
                if len(model) - at == 1
                or (len(model) - at <= most and sum(one[1] for one in model[at:]) <= heaviest)
            )
            assert gone == [(one[0], one[2]) for one in model[:count]]
            model = model[count:]
        assert len(recent) == len(model)
        assert recent.weight == sum(one[1] for one in model)
        assert all(recent.get(one[0]) is one[2] and one[0] in recent for one in model)
