"""Records of others: what is taken can be stored and read, whatever it held; what is not is named."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgewhisk import jsontext
from edgewhisk.entity.activation import LAST_DATE
from edgewhisk.entity.records.foreign import taken
from edgewhisk.errors import MalformedContent
from tests import odd

GOOD: dict[str, Any] = {
    "namespace": "guest",
    "name": "a",
    "version": "0.0.1",
    "subject": "guest",
    "activationId": "a" * 32,
    "start": 5,
    "end": 6,
    "duration": 1,
    "response": {"result": {"n": 1}, "statusCode": 0},
    "logs": ["x"],
    "annotations": [{"key": "path", "value": "guest/a"}],
}


def test_what_is_right_is_taken_as_it_is_and_what_is_unknown_is_left_out() -> None:
    found, text = taken({**GOOD, "more": "of it", "_id": 5})
    assert (found, orjson.loads(text)) == ("a" * 32, GOOD)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"name": 5}, "name must be text"),
        ({"start": -1}, "start must be milliseconds from 0"),
        ({"end": LAST_DATE + 1}, "end must be milliseconds"),
        ({"start": True}, "start must be"),
        ({"start": 1.0}, "start must be"),
        ({"activationId": "../../etc"}, "32"),
        ({"logs": "x"}, "logs must be a list of texts"),
        ({"logs": [5]}, "logs must be a list of texts"),
        ({"annotations": {}}, "annotations must be a list"),
        ({"annotations": [{"key": "path"}]}, "must have key and value"),
        ({"annotations": [{"key": "binding", "value": []}]}, "annotation binding must be text"),
        ({"response": None}, "response must be an object"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], text: str) -> None:
    with pytest.raises(MalformedContent, match=text):
        taken({**GOOD, **change})
    for key in change:
        if key not in ("end", "logs"):
            with pytest.raises(MalformedContent):
                taken({name: value for name, value in GOOD.items() if name != key})


@settings(deadline=None)
@example({"publish": -(1 << 63) - 1})
@given(st.dictionaries(st.sampled_from([*GOOD, "publish", "cause"]), odd.values(), max_size=3))
def test_whatever_is_in_it_what_is_taken_can_be_read(change: dict[str, Any]) -> None:
    try:
        found, text = taken({**GOOD, **change})
    except MalformedContent:
        return
    document = jsontext.loads(text)
    assert document["activationId"] == found
    assert b"\n" not in text  # a record is a line of the log
    assert isinstance(document["response"]["statusCode"], int)
    again, same = taken(document)  # numbers beyond 64 bits are doubles from now on
    assert again == found
    assert taken(jsontext.loads(same)) == (again, same)
