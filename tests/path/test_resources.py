"""What the system gives a process is used, and running short of it stops nobody."""

from __future__ import annotations

import contextlib
import resource
import socket
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from tests.path.gateway import Gateway

LIMITED = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); "
LIMITED += "os.execv(sys.executable, [sys.executable, '-m', 'edgewhisk', 'run', *sys.argv[1:]])"
HARD = min(2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


class Limited(Gateway):
    """Started with so many descriptors."""

    def limited(self, soft: int, hard: int) -> Limited:
        self.command = ("-c", LIMITED.format(soft=soft, hard=hard))
        return self


def test_a_low_soft_limit_of_descriptors_is_raised(tmp_path: Path) -> None:
    made = Limited(tmp_path / "edge").limited(256, HARD)
    try:
        made.start()
        assert resource.prlimit(made.pid, resource.RLIMIT_NOFILE) == (HARD, HARD)
    finally:
        made.stop()


def test_more_clients_than_descriptors_leave_the_gateway_answering(tmp_path: Path) -> None:
    made = Limited(tmp_path / "edge").limited(256, 256)
    try:
        made.start()
        with contextlib.ExitStack() as stack:
            for _ in range(300):
                stack.enter_context(socket.create_connection(("127.0.0.1", made.port), 10))
            made.action("a", "function main(p) { return p }")
            assert made.ok("POST", "_/actions/a?blocking=true&result=true", {"n": 1}) == {"n": 1}
            assert made.status()["http"]["connections"] <= 129
    finally:
        made.stop()
    assert "Traceback" not in (made.folder / "log").read_text()


def resident(pid: int) -> int:
    """MB of a process that no file can give back."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) // 1024


def test_eight_greedy_actions_at_once_share_one_budget(tmp_path: Path) -> None:
    """Each takes 200 MB, which would be 1,600."""
    made = Gateway(tmp_path / "edge", "sandbox_memory = 300\n")
    code = "function main(p) { const a = []; for (let i = 0; i < p.mb; i++) "
    code += "a.push(new Uint8Array(1 << 20).fill(1)); "
    try:
        made.start()
        made.action("greedy", code + "return {n: a.length} }", limits={"memory": 256, "timeout": 30_000})
        assert made.ok("POST", "_/actions/greedy?blocking=true&result=true", {"mb": 1}) == {"n": 1}
        before, most = resident(made.pid), 0
        with ThreadPoolExecutor(8) as pool:
            path = "_/actions/greedy?blocking=true&result=true"
            runs = [pool.submit(made.call, "POST", path, {"mb": 200}) for _ in range(8)]
            while wait(runs, 0.02).not_done:
                most = max(most, resident(made.pid) - before)
        answers = [one.result() for one in runs]
        assert 180 <= most <= 300 + 100
        assert {"n": 200} in [one.body for one in answers]
        told = [one.body["error"] for one in answers if one.body != {"n": 200}]
        assert all("limits.sandbox_memory" in text for text in told), told
        found = made.status()["sandboxes"]
        assert (found["memory_used"], found["memory_budget"]) == (0, 300 << 20)
        assert found["memory_refused"] >= len(told)
        metrics = made.call("GET", "/metrics").body
        assert "edgewhisk_sandbox_memory_budget_bytes 3.145728e+08" in str(metrics)
    finally:
        made.stop()


def test_nothing_is_kept_ready_for_actions_that_were_replaced_or_deleted(tmp_path: Path) -> None:
    made = Gateway(tmp_path / "edge").start()
    try:

        def kept() -> int:
            return int(made.status()["sandboxes"]["nodejs:20"]["images"])

        for number in range(5):
            for code in ("1", "2"):
                made.action(f"a{number}", f"function main() {{ return {{n: {code}}} }}")
                made.ok("POST", f"_/actions/a{number}?blocking=true", {})
        assert kept() == 5
        for number in range(4):
            made.ok("DELETE", f"_/actions/a{number}")
        assert kept() == 1
    finally:
        made.stop()


def test_what_was_made_for_runs_of_an_action_goes_with_it(tmp_path: Path) -> None:
    made = Gateway(tmp_path / "edge").start()
    try:
        large = [{"key": "text", "value": "x" * 800_000}]

        def play(number: int) -> None:
            made.action(f"a{number}", "function main(p) { return {n: p.text.length} }", parameters=large)
            assert made.ok("POST", f"_/actions/a{number}?blocking=true&result=true", {}) == {"n": 800_000}
            made.ok("DELETE", f"_/actions/a{number}")

        for number in range(5):
            play(number)
        before = resident(made.pid)
        for number in range(5, 35):
            play(number)
        assert resident(made.pid) - before < 15  # MB: less than one copy of their parameters
    finally:
        made.stop()
