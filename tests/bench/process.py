"""What a process used, as the kernel counts it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """Counters of one process since its start."""

    cpu: float  # seconds, of threads that ended too
    written: int  # bytes that reached the block layer
    switches: int  # voluntary context switches of all threads: how often it woke
    rss: float  # MB
    pss: float


def usage(pid: int) -> Usage:
    """Read /proc, and the clock of the process: /proc counts in ticks of 10 ms, as much as 50 readings cost."""
    root = Path(f"/proc/{pid}")
    written = _field((root / "io").read_text(), "write_bytes")
    switches = sum(
        _field((task / "status").read_text(), "voluntary_ctxt_switches") for task in (root / "task").iterdir()
    )
    memory = (root / "smaps_rollup").read_text()
    return Usage(
        time.clock_gettime(
            ~pid << 3 | 2
        ),  # CPUCLOCK_SCHED of the process, as clock_getcpuclockid(3) makes it
        written,
        switches,
        _field(memory, "Rss") / 1024,
        _field(memory, "Pss") / 1024,
    )


def _field(text: str, name: str) -> int:
    line = next(line for line in text.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])
