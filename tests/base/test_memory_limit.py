"""The memory that a process may use, by the kernel's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgewhisk.base.memory_limit import memory_limit

MB = 1 << 20
MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def kernel(root: Path, groups: str, limits: dict[str, str]) -> Path:
    """A root with these control groups."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in limits.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("0::/a/b\n", {"a/b/memory.max": f"{200 * MB}\n", "a/memory.max": "max\n"}, 200 * MB),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": f"{100 * MB}\n"}, 100 * MB),
        ("0::/\n", {"memory.max": f"{150 * MB}\n"}, 150 * MB),  # in a container
        ("0::/host/path\n", {"memory.max": f"{150 * MB}\n"}, 150 * MB),  # in one that sees the host's names
        ("4:memory:/x\n0::/\n", {"memory/x/memory.limit_in_bytes": f"{90 * MB}\n"}, 90 * MB),
        ("4:cpu,memory:/\n", {"memory/memory.limit_in_bytes": f"{90 * MB}\n"}, 90 * MB),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, MACHINE),  # none, in 1
        ("0::/a\n", {"a/memory.max": "max\n"}, MACHINE),
        ("0::/a\n", {"a/memory.max": "lots\n", "memory.max": "0\n"}, MACHINE),
        ("nonsense\n\n::\n", {}, MACHINE),
    ],
)
def test_the_least_that_a_group_allows_counts(
    tmp_path: Path, groups: str, limits: dict[str, str], expected: int
) -> None:
    assert memory_limit(kernel(tmp_path, groups, limits)) == expected


def test_without_control_groups_the_machine_counts(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) == MACHINE
    assert 0 < memory_limit() <= MACHINE
