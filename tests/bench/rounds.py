"""Figures of several rounds as a table: medians, ratios of systems, and the bars they are held to."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

NO_BARS: Mapping[str, float] = {}
Figures = dict[str, float]
Rounds = Sequence[dict[str, Figures]]  # of each round the figures of each system, the same in each


def report(
    rounds: Rounds, faults: Collection[str], path: Path | None, bars: Mapping[str, float] = NO_BARS
) -> int:
    """Print the table, write all figures to `path`; 1 if the first system has faults that may not be.

    `faults` are summed up over the rounds; readings that are doubled or disordered are told only.
    """
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {len(rounds)} round(s)"
    )
    print(table(rounds, faults, bars), flush=True)
    if path:
        path.write_text(json.dumps(rounds, indent=1))
    ours = next(iter(rounds[0]))
    return int(
        any(one[ours][fault] for one in rounds for fault in faults if fault not in ("doubled", "disordered"))
    )


def table(rounds: Rounds, faults: Collection[str], bars: Mapping[str, float]) -> str:
    """Medians over the rounds; ratios of the first two systems within a round, then their median; the bars."""
    names = list(rounds[0])
    width = max(map(len, rounds[0][names[0]])) + 2
    lines = [" " * width + "".join(f"{name:>12}" for name in names) + (f"{'ratio':>8}" if names[1:] else "")]
    for metric in rounds[0][names[0]]:
        columns = [[one[name][metric] for one in rounds] for name in names]
        if metric in faults:
            lines.append(f"{metric:{width}}" + "".join(f"{sum(values):>12,.0f}" for values in columns))
            continue
        middle = [statistics.median(values) for values in columns]
        line = f"{metric:{width}}" + "".join(f"{value:>12,.{0 if value >= 1000 else 2}f}" for value in middle)
        if names[1:] and all(columns[1]):
            ratio = statistics.median(own / peer for own, peer in zip(*columns[:2], strict=True))
            line += f"{ratio:>8.2f}{verdict(bars.get(metric), ratio)}"
        lines.append(line)
    return "\n".join(lines)


def verdict(bar: float | None, ratio: float) -> str:
    """A bar above 1 is what the ratio must be at least, any other what it may be at most."""
    if bar is None:
        return ""
    least = bar > 1
    met = ratio >= bar if least else ratio <= bar
    return f"  bar {'>=' if least else '<='} {bar:g}: {'met' if met else 'MISSED'}"


def told(which: str, number: int, count: int) -> None:
    """Progress, for who waits."""
    print(f"{which}, round {number + 1} of {count}", file=sys.stderr, flush=True)
