"""The Python sandbox: both ways give the same, and nothing is left behind."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewhisk.clock.system import SystemClock
from edgewhisk.entity.invocation.call import ActionCall
from edgewhisk.entity.invocation.message import Status
from edgewhisk.sandbox.component.components import Components
from edgewhisk.sandbox.memory import linear
from edgewhisk.sandbox.memory.linear import PAGE, ranges
from edgewhisk.sandbox.pool import Sandboxes
from tests.fakes.capabilities import NoCapabilities
from tests.sandbox.test_pool import CASES, action, assert_as_told, made_of, run

KIND = "python:3"
PYTHON = [case for kind, case in CASES if kind == KIND]


@pytest.fixture(scope="module")
def python(sandboxes: Sandboxes) -> Components:
    host = sandboxes.hosts[KIND]
    assert isinstance(host, Components)
    host._ensure_base()
    return host


def test_this_machine_restores(python: Components) -> None:
    assert python.problem == ""


@pytest.mark.parametrize("case", PYTHON, ids=lambda case: case["name"])
def test_a_fresh_instance_gives_the_same(
    sandboxes: Sandboxes, python: Components, case: dict[str, Any]
) -> None:
    made = made_of(sandboxes, KIND, case)
    call = ActionCall(case.get("arguments", "{}").encode(), {"activation_id": "x1"})
    assert_as_told(case, python.run_fresh(made, [call])[0])


def test_it_is_loaded_with_the_first_call(cache: Path, tmp_path: Path) -> None:
    """And a guest that went missing since the start is told of, each time, until it is back."""
    told: list[str] = []
    made = Sandboxes(cache, SystemClock(), NoCapabilities(), slots=4)
    guest = tmp_path / "python.wasm"
    shutil.copy(made.runtimes[KIND].module, guest)
    made.runtimes[KIND] = replace(made.runtimes[KIND], module=guest)
    try:
        made.prepare(told.append)
        host = made.hosts[KIND]
        assert isinstance(host, Components)
        assert (told, host._parts._loaded, made.describe()[KIND]["state"]) == ([], None, "ready")
        hello = action(made, "def main(a): return {'n': 1}", kind=KIND)
        away = guest.rename(tmp_path / "away.wasm")
        for outcome in run(made, hello, "{}", "{}"):
            assert (outcome.status, b"cannot be read" in outcome.result) == (Status.WHISK_ERROR, True)
        away.rename(guest)
        (outcome,) = run(made, hello)
        assert (outcome.status, outcome.result) == (Status.SUCCESS, b'{"n":1}'), outcome
    finally:
        made.close()


def test_logs_and_tracebacks(sandboxes: Sandboxes) -> None:
    code = """
import sys, logging
print('while loading')
def broken():
    raise KeyError('k')
def main(args):
    print('a', 1)
    print('e', file=sys.stderr)
    logging.warning('careful')
    sys.stdout.write('no end')
    broken()
"""
    made = action(sandboxes, code, kind=KIND)
    first, second = run(sandboxes, made)[0], run(sandboxes, made)[0]
    texts = [(line.stream, line.text) for line in first.logs]
    assert texts[:2] == [("stdout", "while loading"), ("stdout", "a 1")]
    assert ("stderr", "e") in texts
    assert ("stderr", "WARNING:root:careful") in texts
    assert ("stdout", "no end") in texts
    assert ("stderr", '  File "__main__.py", line 5, in broken') in texts
    assert ("stderr", "    raise KeyError('k')") in texts
    assert not any("edgewhisk" in text for _, text in texts)
    assert second.logs[0].text == "a 1"


def test_a_flood_of_logs_is_cut(sandboxes: Sandboxes) -> None:
    code = "def main(a):\n    for i in range(40000): print('x' * 100)\n    return {}"
    (outcome,) = run(sandboxes, action(sandboxes, code, kind=KIND, logs=1))
    assert outcome.status is Status.SUCCESS
    assert sum(len(line.text) for line in outcome.logs) < 1_100_000
    assert outcome.logs[-1].text.startswith("Logs were truncated")


def test_nothing_is_left_for_the_next_call(sandboxes: Sandboxes) -> None:
    code = """
import json, os, sys, random, builtins
count = 0
def default(seen=[]):
    seen.append(1); return len(seen)
def main(args):
    global count
    count += 1
    seen = [count, default(), getattr(builtins, 'left', None), os.environ.get('LEFT'), 'wave' in sys.modules,
            json.loads('[1]'), sys.getrecursionlimit()]
    builtins.left = 1; os.environ['LEFT'] = '2'
    import wave
    json.loads = None; sys.setrecursionlimit(500)
    return {'seen': seen, 'random': random.random(), 'urandom': os.urandom(8).hex()}
"""
    outcomes = run(sandboxes, action(sandboxes, code, kind=KIND), *["{}"] * 8)
    results = [orjson.loads(outcome.result) for outcome in outcomes]
    assert [result["seen"] for result in results] == [[1, 1, None, None, False, [1], 1000]] * 8
    assert len({result["random"] for result in results}) == 8
    assert len({result["urandom"] for result in results}) == 8


def test_bad_calls_harm_no_others(sandboxes: Sandboxes) -> None:
    code = """
import sys
def main(args):
    i = args['i']
    if i == 1:
        while True: pass
    if i == 2: return {'n': len(bytearray(90 << 20))}
    if i == 3: raise SystemExit
    return {'i': i}
"""
    arguments = [f'{{"i": {number}}}' for number in range(6)]
    outcomes = run(sandboxes, action(sandboxes, code, kind=KIND, timeout=2000), *arguments)
    assert [outcome.status.code for outcome in outcomes] == [0, 2, 0, 2, 0, 0]
    assert orjson.loads(outcomes[2].result) == {"n": 90 << 20}  # within its limit; the slot is replaced
    assert orjson.loads(outcomes[5].result) == {"i": 5}


def test_loading_that_needs_much_memory_runs_fresh(sandboxes: Sandboxes) -> None:
    code = "table = bytearray(60 << 20)\ndef main(args): return {'n': len(table)}"
    made = action(sandboxes, code, kind=KIND)
    assert orjson.loads(run(sandboxes, made)[0].result) == {"n": 60 << 20}
    assert orjson.loads(run(sandboxes, made)[0].result) == {"n": 60 << 20}


def test_many_threads_and_actions(sandboxes: Sandboxes) -> None:
    actions = [
        action(sandboxes, f"def main(a): return {{'n': {n}, 'i': a['i']}}", kind=KIND) for n in range(4)
    ]
    wrong: list[Any] = []

    def work(seed: int) -> None:
        for number in range(40):
            which = (seed + number) % len(actions)
            (outcome,) = run(sandboxes, actions[which], f'{{"i": {number}}}')
            if orjson.loads(outcome.result) != {"n": which, "i": number}:
                wrong.append(outcome)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


STATEMENT = st.sampled_from(
    [
        "globals()[str(len(globals()))] = [{}] * 50",
        "import json; json.dumps([{'i': i} for i in range(300)])",
        "import collections; collections.Counter('hello' * 100)",
        "print('l' * 300)",
        "import os; os.environ['X'] = os.urandom(300).hex()",
        "sum(x * x for x in range(2000))",
        "import decimal; decimal.getcontext().prec = 5",
        "import re; re.compile('a' * 50 + 'b+').match('a')",
        "import gc; gc.collect()",
        "bytes(300000).replace(b'x', b'y')",
        "[].append([object() for _ in range(20000)])",
        "import fractions, colorsys",
    ]
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(programs=st.lists(st.lists(STATEMENT, min_size=1, max_size=5), min_size=2, max_size=3))
def test_memory_is_put_back_to_the_last_bit(
    sandboxes: Sandboxes, python: Components, programs: list[list[str]]
) -> None:
    actions = [
        action(sandboxes, "def main(a):\n    " + "\n    ".join(program) + "\n    return a", kind=KIND)
        for program in programs
    ]
    for made in [*actions, actions[0]]:
        outcomes = run(sandboxes, made, *['{"a": [1, 2.5, "x"]}'] * 3)
        assert {outcome.result for outcome in outcomes} == {b'{"a":[1,2.5,"x"]}'}
        slot = python._take(made.revision)
        assert slot.revision == made.revision
        view = slot.live.linear.view()
        differing = [
            page
            for page in slot.live.linear.private()
            if view[page * PAGE : (page + 1) * PAGE] != slot.restorer.page(page)
        ]
        python._put_back(slot)
        assert differing == []


def test_both_ways_to_find_private_pages_agree(python: Components) -> None:
    slot = python._take(None)
    memory = slot.live.linear
    scanned = list(linear._scanned(memory.base, memory.size)) if linear.SCANS else []
    read = list(linear._read_pagemap(memory.base, memory.size))
    python._put_back(slot)
    assert not linear.SCANS or scanned == read


@given(pages=st.sets(st.integers(0, 60)))
def test_ranges_cover_the_pages(pages: set[int]) -> None:
    found = [page for first, end in ranges(sorted(pages)) for page in range(first, end)]
    assert found == sorted(pages)
