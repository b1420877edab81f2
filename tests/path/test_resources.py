"""What the system gives a process is used, and running short of it stops nobody."""

from __future__ import annotations

import contextlib
import resource
import socket
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
