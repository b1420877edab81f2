"""The JSON contract: what every reader and writer of the program makes of a value."""

from __future__ import annotations

import json
import re
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewhisk import jsontext
from edgewhisk.jsontext import LEVELS, Fragment, NotJson, TooDeep, dumps, loads, parse, parse_odd
from tests import odd

PACKAGE = Path(jsontext.__file__).parent
# Who reads and writes JSON past the contract, and why.
OWN_WAYS = {
    "jsontext.py": "is the contract",
    "cli/output.py": "prints what is valid already, with four spaces as wsk does",
    "sync/receivers/sqlite_asgi.py": "is copied to where EdgeWhisk is not",
    "device/capture.py": "reads a JSON string that more text follows, from a file of one's own",
}


def test_one_module_reads_and_writes_json() -> None:
    importing = re.compile(r"^\s*(?:import|from) (?:json|orjson)\b", re.MULTILINE)
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if importing.search(path.read_text())
    }
    assert found == set(OWN_WAYS)


def test_the_limits_of_orjson_are_what_the_contract_builds_on() -> None:
    orjson.loads(odd.nested_text(1024))
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(odd.nested_text(1025))


@pytest.mark.parametrize("name", odd.SAMPLES)
def test_every_value_can_be_written_and_read_again(name: str) -> None:
    value = odd.SAMPLES[name]
    text = dumps(value)
    assert orjson.loads(text) == loads(text)
    assert loads(text) == odd.tidy(value)


@settings(max_examples=60, deadline=None)
@given(odd.values())
def test_what_is_written_is_what_the_contract_says(value: Any) -> None:
    assert orjson.loads(dumps(value)) == odd.tidy(value)


@settings(max_examples=60, deadline=None)
@given(odd.values())
def test_what_is_read_is_what_the_contract_says(value: Any) -> None:
    text = odd.text_of(value).encode()
    found = parse_odd(text)
    assert found.value == odd.tidy(value)
    assert orjson.loads(found.text) == found.value
    assert b"\n" not in found.text
    if not re.search(rb"NaN|Infinity", re.sub(rb'"(?:[^"\\]|\\.)*"', b"", text)):
        assert parse(text).value == odd.tidy(value)
        assert orjson.loads(parse(text).text) == odd.tidy(value)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200) | st.text(st.sampled_from('{}[]",:\\ud8001eE+-.NaInfity \n\0'), max_size=80))
def test_any_text_is_read_or_refused(data: bytes | str) -> None:
    text = data.encode() if isinstance(data, str) else data
    for read in (parse, parse_odd):
        try:
            found = read(text)
        except NotJson:
            continue
        assert orjson.loads(found.text) == found.value
        orjson.loads(b'{"payload":%b}' % found.text)


@pytest.mark.parametrize("name", odd.TEXTS)
def test_texts_of_clients_that_are_taken(name: str) -> None:
    text = odd.TEXTS[name].encode()
    found = parse(text)
    assert found.value == orjson.loads(found.text) == odd.tidy(_python(text))
    assert parse_odd(text).value == found.value


def _python(text: bytes) -> Any:
    """As another parser reads it."""
    return json.loads(text)


def test_a_text_that_nothing_was_wrong_with_is_passed_on_as_it_came() -> None:
    text = b'{"exact":123456789012345678901234567890,"a":1,"a":2}'
    assert parse(text).text is text
    assert parse_odd(text) == (parse(text).value, text, 0)


@pytest.mark.parametrize("name", odd.TOO_DEEP)
def test_texts_that_are_too_deep(name: str) -> None:
    text = odd.TOO_DEEP[name].encode()
    with pytest.raises(TooDeep, match=r"^JSON input nested too deeply:.*maxNesting = 1000$"):
        parse(text)
    found = parse_odd(text)
    assert (odd.depth(found.value), found.replaced) == (LEVELS, 1)
    orjson.loads(found.text)


def test_levels_that_are_never_closed_are_too_deep_as_well() -> None:
    for levels in (1001, 1100, 100_000):
        with pytest.raises(TooDeep):
            parse(b"[" * levels)
    with pytest.raises(NotJson, match=r"unexpected end of data"):
        parse(b"[" * 500)
    with pytest.raises(NotJson):
        parse_odd(b"[" * 100_000)
    parse(b'{"a":"%b"}' % (b"[" * 100_000))


@pytest.mark.parametrize("name", odd.BROKEN)
def test_texts_of_clients_that_are_refused(name: str) -> None:
    with pytest.raises(NotJson) as caught:
        parse(odd.BROKEN[name].encode())
    assert "char" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "value", "replaced"),
    [
        (b'{"t":nan,"h":41.5}', {"t": None, "h": 41.5}, 1),
        (b'{"t":NaN,"u":-Infinity,"v":+inf,"w":-nan}', dict.fromkeys("tuvw"), 4),
        (b'{"nan":"nan","Infinity":"say \\"NaN\\""}', {"nan": "nan", "Infinity": 'say "NaN"'}, 0),
        (b'\xef\xbb\xbf{"celsius":21.5}', {"celsius": 21.5}, 1),
        (b'{"value":"26.00"}\0', {"value": "26.00"}, 1),
        (b'{"a":1} \0\0\r\n', {"a": 1}, 1),
        (b'{"a":"b\xffc"}', {"a": "b\ufffdc"}, 1),
        (b'{"a":"b\tc\nd"}', {"a": "b\tc\nd"}, 1),
        (b'{"a":"\\ud800","b":"\\ud800\\ud800"}', {"a": "?", "b": "??"}, 2),
        (b'{"a":1e999}', {"a": None}, 1),
        (b"nan", None, 1),
        (b" 5 ", 5, 0),
    ],
)
def test_what_devices_say_is_taken_as_far_as_it_can_be(data: bytes, value: Any, replaced: int) -> None:
    found = parse_odd(data)
    assert (found.value, found.replaced) == (value, replaced)
    assert orjson.loads(found.text) == value


@pytest.mark.parametrize("data", [b"", b"\0", b"{", b"nanny", b"{'a':1}", b'{"a":01}', b"[1,]", b'{"a":1}{}'])
def test_what_devices_say_and_nobody_understands(data: bytes) -> None:
    with pytest.raises(NotJson):
        parse_odd(data)


def test_texts_of_earlier_versions_are_read_whatever_stands_in_them() -> None:
    assert loads(b'{"s":"a\\ud800b"}') == {"s": "a?b"}
    assert odd.depth(loads(odd.nested_text(3000).encode())) == 1024
    with pytest.raises(NotJson):
        loads(b'{"s":')


def test_fragments_stand_as_they_are_in_what_orjson_refuses_too() -> None:
    assert dumps({"s": "\ud800", "f": Fragment(b'{"a":1}')}) == b'{"s":"?","f":{"a":1}}'


def test_what_is_no_json_is_refused_whatever_stands_beside_it() -> None:
    for value in (b"x", {"a": 10**30, "b": object()}, {1: 2}, ["\ud800", {1: 2}]):
        with pytest.raises(TypeError):
            dumps(value)
    assert dumps({1: 10**30, "b": b"x"}, lambda _: "y", any_key=True) == b'{"1":%d,"b":"y"}' % 10**30
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(TooDeep):
        dumps(circle)


@settings(max_examples=60, deadline=None)
@given(odd.values())
def test_values_are_compared_and_shown_at_any_depth(value: Any) -> None:
    """In threads, too, which have smaller stacks."""
    text = dumps(odd.nested(20, value))
    with ThreadPoolExecutor() as pool:
        assert pool.submit(lambda: loads(text) == loads(text)).result()
        assert pool.submit(lambda: len(repr(loads(text)))).result() > 20


def test_a_text_that_is_kept_takes_no_more_memory_than_it_has_bytes() -> None:
    tracemalloc.start()
    try:
        texts = [jsontext.kept({"n": n}) for n in range(1000)]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert texts[7] == b'{"n":7}'
    assert held < 1000 * 200
