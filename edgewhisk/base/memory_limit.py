"""How much memory this process may use: the machine's, or less where a control group says so.

systemd's `MemoryMax=` and a container's limit stand in the control group (version 2: `memory.max` of it and
of each group around it; version 1: `memory.limit_in_bytes`). Beyond that limit the kernel kills the process.
See cgroups(7) and the kernel's admin-guide/cgroup-v2.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath


def memory_limit(root: Path = Path("/")) -> int:
    """Bytes; `root` is where `proc` and `sys` are."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_limits(root)])


def _limits(root: Path) -> Iterator[int]:
    """What each control group of this process allows, in bytes; none where nothing is said."""
    groups = ""
    with suppress(OSError):
        groups = (root / "proc/self/cgroup").read_text(encoding="ascii", errors="replace")
    for line in groups.splitlines():
        _, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if not kinds:
            yield from _around(root / "sys/fs/cgroup", path, "memory.max")
        elif "memory" in kinds.split(","):
            yield from _around(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes")


def _around(mount: Path, path: str, file: str) -> Iterator[int]:
    """A group's limit and those of the groups around it; a container sees its own group as the outermost."""
    group = PurePosixPath(path.lstrip("/"))
    for one in (group, *group.parents):
        with suppress(OSError, ValueError):  # `max`: no limit; or the group is not shown here
            if (limit := int((mount / one / file).read_text(encoding="ascii"))) > 0:
                yield limit
