"""Outcomes, isolation and limits of the JavaScript sandbox, in real WebAssembly."""

from __future__ import annotations

import base64
import io
import itertools
import shutil
import sys
import threading
import time
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewhisk.clock.system import SystemClock
from edgewhisk.entity.action import Action, ActionPut
from edgewhisk.entity.invocation.call import CallBatch
from edgewhisk.entity.invocation.message import Outcome, Status, outcomes_of
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import MalformedContent
from edgewhisk.sandbox.archive import bundle
from edgewhisk.sandbox.code_cache import is_whole
from edgewhisk.sandbox.guest.abi import Given
from edgewhisk.sandbox.guest.guests import Guests
from edgewhisk.sandbox.guest.slot import GuestSlot
from edgewhisk.sandbox.host.hostcalls import CallContext
from edgewhisk.sandbox.pool import Sandboxes
from edgewhisk.spi import Answer
from tests.fakes.capabilities import NoCapabilities
from tests.guests import builds

SANDBOXES = Path(__file__).resolve().parents[2] / "sandboxes"
CASES = [
    (kind, case)
    for kind, folder in (("nodejs:20", "javascript"), ("python:3", "python"))
    for path in sorted((SANDBOXES / folder / "transcripts").glob("*.toml"))
    for case in tomllib.loads(path.read_text())["case"]
]
NUMBERS = itertools.count(1)


def action(
    sandboxes: Sandboxes, code: str, main: str | None = None, kind: str = "nodejs:default", **limits: int
) -> Action:
    entry = {} if main is None else {"main": main}
    body: dict[str, Any] = {"exec": {"kind": kind, "code": code, **entry}, "limits": limits}
    wanted = ActionPut.from_json(body, kinds=sandboxes.kinds, namespace="guest", limits=Limits())
    number = next(NUMBERS)
    return wanted.create(parse_name(f"/guest/a{number}", "_"), Limits(), number)


def run(sandboxes: Sandboxes, made: Action, *arguments: str) -> list[Outcome]:
    given = [text.encode() for text in arguments or ("{}",)]
    return list(outcomes_of(sandboxes.run(made, CallBatch(given, ["x1"] * len(given), {}))))


def zipped(files: dict[str, Any]) -> str:
    """An archive of files, each text or `{"base64"}`."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(
                path, content if isinstance(content, str) else base64.b64decode(content["base64"])
            )
    return base64.b64encode(data.getvalue()).decode()


def made_of(sandboxes: Sandboxes, kind: str, case: dict[str, Any]) -> Action:
    limits = {key: case[key] for key in ("timeout", "memory") if key in case}
    code = zipped(case["files"]) if "files" in case else case["code"]
    return action(sandboxes, code, case.get("main"), kind, **limits)


def assert_as_told(case: dict[str, Any], outcome: Outcome) -> None:
    assert outcome.status == case["status"], outcome
    if "result" in case:
        assert orjson.loads(outcome.result) == orjson.loads(case["result"])
    assert case.get("contains", "").encode() in outcome.result
    told = [line.text for line in outcome.logs]
    assert [line for line in case.get("logs", ()) if line not in told] == [], told


@pytest.mark.parametrize(("kind", "case"), CASES, ids=[f"{kind}-{case['name']}" for kind, case in CASES])
def test_transcripts(sandboxes: Sandboxes, kind: str, case: dict[str, Any]) -> None:
    made = made_of(sandboxes, kind, case)
    assert_as_told(case, run(sandboxes, made, case.get("arguments", "{}"))[0])


def test_logs_with_stream_and_time(sandboxes: Sandboxes) -> None:
    code = (
        "function main() { console.log('a', {b: [1, 'x']}, 2); console.error('%s is %d', 'c', 5); return {} }"
    )
    (outcome,) = run(sandboxes, action(sandboxes, code))
    assert [(line.stream, line.text) for line in outcome.logs] == [
        ("stdout", "a { b: [ 1, 'x' ] } 2"),
        ("stderr", "c is 5"),
    ]  # fmt: skip
    assert all(abs(line.at - outcome.start) < 60_000 for line in outcome.logs)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("nodejs:20", "console.log('loading'); function main() { console.log('x'); return {} }"),
        ("nodejs:20", "function main() { console.log('x'); throw new Error('y') }"),
        ("python:3", "print('loading')\ndef main(args):\n    print('x')\n    return {}"),
        ("python:3", "print('loading')\n1 / 0"),
    ],
)
def test_a_log_limit_of_nothing_keeps_no_line(sandboxes: Sandboxes, kind: str, code: str) -> None:
    outcomes = run(sandboxes, action(sandboxes, code, kind=kind, logs=0), "{}", "{}")
    assert [outcome.logs for outcome in outcomes] == [(), ()]


def test_a_flood_of_logs_is_cut(sandboxes: Sandboxes) -> None:
    code = "function main() { for (let i = 0; i < 40000; i++) console.log('x'.repeat(100)); return {} }"
    (outcome,) = run(sandboxes, action(sandboxes, code, logs=1))
    assert sum(len(line.text) for line in outcome.logs) < 1_100_000
    assert outcome.logs[-1].text.startswith(
        "Logs were truncated because the total bytes size exceeds the limit"
    )


def test_what_a_killed_call_logged_is_kept(sandboxes: Sandboxes) -> None:
    (outcome,) = run(
        sandboxes, action(sandboxes, "function main() { console.log('here'); while (true); }", timeout=150)
    )
    assert outcome.logs[0].text == "here"
    assert outcome.timed_out


def test_nothing_is_left_for_the_next_call(sandboxes: Sandboxes) -> None:
    code = """
      let count = 0;
      function main(p) {
        const seen = [++count, globalThis.left, [].evil, Object.evil, process.env.LEFT, JSON.parse.x];
        globalThis.left = 1; Array.prototype.evil = 2; Object.evil = 3; process.env.LEFT = '4';
        JSON.parse.x = 5;
        setTimeout(() => console.log('late'), 1);
        return {seen, random: Math.random()};
      }"""
    outcomes = run(sandboxes, action(sandboxes, code), *["{}"] * 10)
    results = [orjson.loads(outcome.result) for outcome in outcomes]
    assert [result["seen"] for result in results] == [[1, None, None, None, None, None]] * 10
    assert len({result["random"] for result in results}) == 10
    assert not any(outcome.logs for outcome in outcomes)


def test_one_bad_call_in_a_batch_harms_no_other(sandboxes: Sandboxes) -> None:
    code = "function main(p) { if (p.i == 3) while (true); if (p.i == 5) throw 'x'; return {i: p.i} }"
    arguments = [f'{{"i": {number}}}' for number in range(8)]
    outcomes = run(sandboxes, action(sandboxes, code, timeout=1500), *arguments)
    assert [outcome.status.code for outcome in outcomes] == [0, 0, 0, 2, 0, 2, 0, 0]
    assert orjson.loads(outcomes[7].result) == {"i": 7}


def test_many_threads(sandboxes: Sandboxes) -> None:
    actions = [action(sandboxes, f"function main(p) {{ return {{n: {n}, i: p.i}} }}") for n in range(6)]
    wrong: list[Any] = []

    def work(seed: int) -> None:
        for number in range(100):
            which = (seed + number) % len(actions)
            (outcome,) = run(sandboxes, actions[which], f'{{"i": {number}}}')
            if orjson.loads(outcome.result) != {"n": which, "i": number}:
                wrong.append(outcome)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def _serving(slot: GuestSlot) -> CallContext:
    return CallContext(time.monotonic() + 5, slot.view, lambda _: Answer(b"{}"))


STATEMENT = st.sampled_from(
    [
        "globalThis['g' + Math.random()] = new Array(50).fill({a: 1})",
        "JSON.parse(JSON.stringify(Array.from({length: 200}, (_, i) => ({i, s: 'x'.repeat(i)}))))",
        "new Map([[1, 2], [{}, /x+/g.exec('xxx')]])",
        "String.prototype.z = () => new Uint8Array(5000)",
        "console.log('l'.repeat(300))",
        "eval('var q' + Date.now() + ' = 1')",
        "(function f(n) { return n ? f(n - 1) + 1 : 0 })(300)",
        "new Promise(r => setTimeout(r, 0))",
        "[3, 1, 2].sort().map(x => x * 2.5).join()",
        "try { null.x } catch (e) { e.stack }",
    ]
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(programs=st.lists(st.lists(STATEMENT, min_size=1, max_size=6), min_size=2, max_size=3))
def test_memory_is_put_back_to_the_last_bit(sandboxes: Sandboxes, programs: list[list[str]]) -> None:
    host = sandboxes.hosts["nodejs:20"]
    assert isinstance(host, Guests)
    slot = GuestSlot(host.parts)
    images = []
    for program in programs:
        code = f"async function main(p) {{ {'; '.join(program)}; return {{p}} }}"
        images.append(
            slot.load(bundle({"main.js": code.encode()}, "main.js", "main", {}), 256, _serving(slot))
        )
    for at in [*range(len(images)), 0]:
        slot.attach(at, images[at], 256)
        pristine = slot.memory()
        slot.run(
            Given([b'{"a": [1, 2, 3]}'] * 3, [b"{}"] * 3, bytes(range(24)), 1 << 20), 1 << 20, _serving(slot)
        )
        assert len(slot.finished(1 << 20)) == 3
        assert slot.memory() == pristine


def test_an_archive_without_an_entry_is_refused_at_create(sandboxes: Sandboxes) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("other.js", "")
    with pytest.raises(MalformedContent, match=r"must contain index\.js at its root"):
        sandboxes.check(action(sandboxes, base64.b64encode(packed.getvalue()).decode()).exec)


@pytest.mark.parametrize(
    ("code", "main", "problem"),
    [
        ("UEsDBAAA", None, "no zip archive"),
        ("function main() { return {} }", "a; evil()", "'main' must name a function"),
        ("function main() { return {} }", " ", "'main' must name a function"),
        ("function main() { return {} }", "", "Missing main/no code to execute."),
    ],
    ids=["no archive", "code", "blank", "empty"],
)
def test_what_openwhisk_takes_at_create_is_told_at_the_run(
    sandboxes: Sandboxes, code: str, main: str | None, problem: str
) -> None:
    made = action(sandboxes, code, main)
    sandboxes.check(made.exec)
    (outcome,) = run(sandboxes, made)
    assert (outcome.status, problem in outcome.result.decode()) == (Status.DEVELOPER_ERROR, True)


def test_a_damaged_cache_entry_is_never_loaded(cache: Path, sandboxes: Sandboxes, tmp_path: Path) -> None:
    copy = tmp_path / "cache"  # code of the tests' own sandboxes is mapped from the original
    shutil.copytree(cache, copy)
    entry = copy / f"{sandboxes.engine_of_guests._key(sandboxes.runtimes['nodejs:20'].wasm())}.cwasm"
    whole = entry.read_bytes()
    assert is_whole(entry)
    for damaged in (whole[:100], whole[:-1], whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:], b""):
        entry.write_bytes(damaged)
        assert not is_whole(entry)
    fresh = Sandboxes(copy, SystemClock(), NoCapabilities(), slots=1)
    fresh.prepare_first(lambda _: None)
    made = action(fresh, "function main() { return {a: 1} }")
    assert run(fresh, made)[0].result == b'{"a":1}'
    fresh.close()
    assert is_whole(entry)  # made anew
    entry.with_suffix(".sha256").unlink()
    assert not is_whole(entry)


def test_the_build_knows_what_is_current(tmp_path: Path) -> None:
    javascript = builds().recipe("javascript")
    shared = sys.modules["recipe"]
    target, stamp = tmp_path / "engine.wasm", tmp_path / "engine.wasm.stamp"
    assert not shared.is_current(target, stamp, "r")
    assert shared.build(target, "r", lambda: b"wasm") == target
    assert shared.is_current(target, stamp, "r")
    assert not shared.is_current(target, stamp, "another recipe")
    target.write_bytes(b"damaged")
    assert not shared.is_current(target, stamp, "r")
    with pytest.raises(SystemExit, match="imports"):
        javascript.check(b"\0asm\1\0\0\0" + b"\2\x0c\1\3env\4evil\0\0")
