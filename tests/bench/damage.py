"""Damage stored files a thousand times: each store must start, and what differs must be told.

    nice python -m tests.bench.damage --stores 1000

A byte is changed, a block zeroed, a file cut short, emptied or deleted, in each kind of file of a gateway
that ran three times and ended by itself each time. Then the stores are opened as a gateway does, listed,
looked through and written to. It prints a table, and ends with an error if a start was refused, a record
came back as another, or something is missing that neither the incidents nor the log state tell of.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import Random

from tests.store import damage


def kind_of(path: Path) -> str:
    """The kind of a file: its folder, and its name without numbers."""
    name = re.sub(r"-[0-9a-f-]{8,}.*", "", path.name)
    return f"{path.parent}/{name}" if path.parent != Path() else name


def main() -> int:
    """Damage and print; 1 if anything was refused or silent."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stores", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    random = Random(given.seed)
    done, refused, silent, told = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as name, damage.small():
        whole = Path(name, "whole")
        damage.build(whole, random)
        damage.copy(whole, Path(name, "copy"))
        before = damage.start(Path(name, "copy"))
        assert not [*before.told, *["lost"] * before.lost]
        files: dict[str, list[Path]] = {}
        for path in damage.files_of(whole):
            files.setdefault(kind_of(path), []).append(path)
        for number in range(given.stores):
            kind = list(files)[number % len(files)]
            how = damage.KINDS[number // len(files) % len(damage.KINDS)]
            path, folder = random.choice(files[kind]), Path(name, str(number))
            damage.copy(whole, folder)
            what = damage.damage(folder / path, how, random)
            done[kind] += 1
            try:
                after = damage.start(folder)
            except Exception as error:  # noqa: BLE001 - the table tells
                refused[kind] += 1
                print(f"REFUSED {number}: {path} {what}: {error!r}", flush=True)
                continue
            told[kind] += bool(after.told)
            for line in damage.silent(before, after):
                silent[kind] += 1
                print(f"SILENT {number}: {path} {what}: {line}; told: {after.told}", flush=True)
    print(f"{'file':32}{'damaged':>9}{'told':>9}{'refused':>9}{'silent':>9}")
    for kind in sorted(done):
        print(f"{kind:32}{done[kind]:9}{told[kind]:9}{refused[kind]:9}{silent[kind]:9}")
    print(f"{'all':32}{done.total():9}{told.total():9}{refused.total():9}{silent.total():9}")
    return int(bool(refused or silent))


if __name__ == "__main__":
    sys.exit(main())
