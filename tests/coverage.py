"""Says at the end of `EDGEWHISK_COVERAGE=1 pytest` how much of EdgeWhisk ran in it: a figure, not a gate.

Counted is what ran in the processes of the tests. Gateways that tests start as programs are not: most of
`cli/` and `gateway/` runs only there. Not in each run: to take its probes out again slipcover looks into the
frames of all threads, and what stands there lives on for a while, sandboxes whose memory is counted among it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import slipcover  # type: ignore[import-untyped]

PACKAGE: Final = Path(__file__).parent.parent / "edgewhisk"
_WANTED: Final = "EDGEWHISK_COVERAGE"
_seen: Final[dict[str, set[int]]] = {}  # lines that ran, by file
_lines: Final[dict[str, set[int]]] = {}  # lines that may run


def pytest_configure(config: pytest.Config) -> None:
    """Count from now on, if that is wanted."""
    if _WANTED in os.environ:
        worker = hasattr(config, "workerinput")
        source = None if worker else [str(PACKAGE)]  # modules that no test loads count, too: once
        counting = slipcover.Slipcover(source=source)
        slipcover.ImportManager(counting, slipcover.FileMatcher(sources=[PACKAGE])).__enter__()
        config.pluginmanager.register(_Counting(counting))


class _Counting:
    """Hands over what ran in this process, and tells it all in the first one."""

    def __init__(self, counting: Any) -> None:
        self._counting = counting

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        files = self._counting.get_coverage()["files"]
        found = {name: (one["executed_lines"], one["missing_lines"]) for name, one in files.items()}
        if (output := getattr(session.config, "workeroutput", None)) is not None:
            output["coverage"] = found
        else:
            _add(found)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        _add(getattr(node, "workeroutput", {}).get("coverage", {}))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.write_line(_report())


def _add(found: Mapping[str, tuple[list[int], list[int]]]) -> None:
    for name, (executed, missing) in found.items():
        _seen.setdefault(name, set()).update(executed)
        _lines.setdefault(name, set()).update(executed, missing)


def _report() -> str:
    """One line: the share of all, and of each room."""
    ran, all_lines = Counter[str](), Counter[str]()
    for name, lines in _lines.items():
        room = Path(name).parts[1] if len(Path(name).parts) > 2 else "(top)"
        ran[room] += len(_seen[name])
        all_lines[room] += len(lines)
    rooms = ", ".join(f"{room} {100 * ran[room] // all_lines[room]}" for room in sorted(all_lines))
    share = 100 * ran.total() / max(1, all_lines.total())
    return f"Coverage in the tests' own processes: {share:.1f} % of {all_lines.total():,} lines ({rooms})"
