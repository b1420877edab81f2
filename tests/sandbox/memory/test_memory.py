"""Memory that runs took is given back: real WebAssembly, measured by the kernel."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewhisk.base.process import frugal_heaps, return_memory
from edgewhisk.entity.invocation.call import CallBatch
from edgewhisk.entity.invocation.message import outcomes_of
from edgewhisk.sandbox.memory import linear
from edgewhisk.sandbox.memory.budget import Budget
from edgewhisk.sandbox.memory.linear import PAGE, Linear
from edgewhisk.sandbox.pool import Sandboxes
from tests.sandbox.test_pool import action

GREEDY = {
    "nodejs:default": "function main(p) { const a = []; for (let i = 0; i < 60; i++) "
    "a.push('x'.repeat(1e6) + i); return {n: a.length} }",
    "python:default": "def main(p):\n    a = [bytes(1000000) + bytes([i]) for i in range(60)]\n"
    "    return {'n': len(a)}\n",
}
LONG = b'{"x":"%b"}' % (b"x" * 900_000)


@pytest.fixture(autouse=True)
def heaps() -> None:
    """As a gateway has them."""
    frugal_heaps()


def pss() -> int:
    """MB that this process holds for itself."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) // 1024


def flood(sandboxes: Sandboxes, code: str, kind: str, payloads: list[bytes]) -> None:
    """Four actions at once, four times."""
    made = [action(sandboxes, code, kind=kind, timeout=60_000) for _ in range(4)]

    def run(at: int) -> bool:
        calls = CallBatch(payloads, ["x1"] * len(payloads), {})
        return all(one.status.value == "success" for one in outcomes_of(sandboxes.run(made[at % 4], calls)))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(16)))


@pytest.mark.parametrize("kind", sorted(GREEDY))
def test_memory_comes_back_after_runs_that_took_much(sandboxes: Sandboxes, kind: str) -> None:
    flood(sandboxes, GREEDY[kind].replace("60", "1"), kind, [b"{}"])
    return_memory()
    before = pss()
    flood(sandboxes, GREEDY[kind], kind, [b"{}"])
    return_memory()
    assert pss() <= before + 40  # one run takes 60


def test_memory_comes_back_after_large_batches(sandboxes: Sandboxes) -> None:
    echo = "function main(p) { return {n: p.x.length} }"
    flood(sandboxes, echo, "nodejs:default", [b'{"x":"x"}'])
    return_memory()
    before = pss()
    flood(sandboxes, echo, "nodejs:default", [LONG] * 32)
    return_memory()
    assert pss() <= before + 40  # one batch takes 30, and there are four


def test_actions_that_load_much_are_not_kept_one_beside_the_other(sandboxes: Sandboxes) -> None:
    """Neither their images nor the slots that show them."""

    def load(number: int) -> int:
        held = f"const held = new Uint8Array(20e6).fill({number + 1});"
        code = f"{held} function main() {{ return {{n: held.length}} }}"
        made = action(sandboxes, code, timeout=60_000)
        [ran] = outcomes_of(sandboxes.run(made, CallBatch([b"{}"], ["x1"], {})))
        assert ran.status.value == "success", ran
        return pss()

    first = load(0)
    return_memory()
    for number in range(1, 12):
        load(number)
    return_memory()
    assert pss() <= first + 60  # one image takes 20, and one slot


@settings(max_examples=25, deadline=None)
@given(
    size=st.sampled_from((PAGE, 1 << 17, 17 << 20, 65 << 20)),
    written=st.sets(st.floats(0, 1, exclude_max=True), max_size=80),
)
def test_a_memory_that_is_kept_for_the_next_call_is_all_zero(size: int, written: set[float]) -> None:
    """However many of its pages were written, and however large it is: pages are zeroed, or given back."""
    memory = Linear(128 << 20, PAGE, 0)
    budget = Budget(1 << 30)
    memory.open(size, budget.share())
    places = [int(at * size) for at in written]
    for at in places:
        memory.bytes[at] = 7
    memory.close()
    assert budget.used == 0
    memory.open(size, budget.share())
    assert not any(memory.bytes[at] for at in places)
    assert memory.bytes[:size] == bytes(size)
    memory.free()


def test_the_kernel_is_asked_for_pages_where_it_can_tell() -> None:
    """PAGEMAP_SCAN came with Linux 6.7: a probe that fails there leaves the slow way for ever."""
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    assert (release >= (6, 7) and linear._pagemap >= 0) == linear.SCANS
