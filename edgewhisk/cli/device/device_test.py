"""`edgewhisk device test`: a profile against its golden file, as a developer of profiles wants to see it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from edgewhisk.base import resources
from edgewhisk.cli import FAILED, OK
from edgewhisk.cli.output import document, done, paint, shown_json
from edgewhisk.config.loader import load
from edgewhisk.device import capture, library
from edgewhisk.device.capture import CapturedBytes, Expected
from edgewhisk.device.golden import FrameSeen, seen
from edgewhisk.device.profile import Profile
from edgewhisk.device.rejected import sample
from edgewhisk.errors import BadRequest


class GoldenStep(NamedTuple):
    """One frame: what must come of it, and what came."""

    wanted: Expected | None  # None: nothing more is expected
    came: FrameSeen | None

    @property
    def right(self) -> bool:
        """Whether it is as it must be."""
        if self.wanted is None or self.came is None:
            return False
        if self.wanted.values is None:
            return self.came.values is None and self.came.reason == self.wanted.refusal
        return self.came.values == self.wanted.values


def examine(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """`device test`: 1 if something is not read as it must be."""
    resources.own(load(given.config, environment).state_dir)
    found = {name: list(_steps(library.load(name), given.golden)) for name in given.profile}
    if given.json:
        document({name: [_plain(step) for step in steps] for name, steps in found.items()})
    else:
        for name, steps in found.items():
            _tell(name, steps)
    return OK if all(step.right for steps in found.values() for step in steps) else FAILED


def _steps(profile: Profile, other: Path | None) -> Iterator[GoldenStep]:
    entries = list(_entries(profile, other))
    said = [one for one in entries if isinstance(one, CapturedBytes)]
    wanted = [one for one in entries if isinstance(one, Expected)]
    if not wanted and not profile.writes:
        raise BadRequest(
            f"nothing is expected of {profile.name}: a golden file has lines that begin with < or !",
            hint="devices/README.md describes golden files",
        )
    came = list(seen(profile, said)) if said else []
    return (GoldenStep(*pair) for pair in zip_longest(wanted, came))


def _entries(profile: Profile, other: Path | None) -> Iterable[CapturedBytes | Expected]:
    try:
        path = other or resources.find("devices", f"{profile.name}.golden")
        return list(capture.read(capture.text(path.read_bytes(), str(path)), str(path)))
    except FileNotFoundError:
        text = f"{other or f'{profile.name}.golden'} is not there"
        raise BadRequest(text, hint="edgewhisk device record writes one") from None
    except OSError as error:
        raise BadRequest(f"{error.filename}: {error.strerror}") from error


def _tell(name: str, steps: list[GoldenStep]) -> None:
    for step in steps:
        came = step.came
        if step.right and came is not None:
            print(f"{paint('right', 'green')}  {_shown(came.values, came.reason)}")
        else:
            print(f"{paint('wrong', 'red')}  wanted  {_wanted(step.wanted)}")
            print(f"       came    {_shown(came.values, came.reason) if came else 'nothing'}")
        if came is not None and (came.values is None or not step.right):
            print(f"       frame   {sample(came.data)}")
    wrong = sum(not step.right for step in steps)
    if wrong:
        print(f"{name}: {wrong} of {len(steps)} wrong")
    else:
        done(f"{name} reads all {len(steps)} as it must")


def _wanted(expected: Expected | None) -> str:
    return "nothing" if expected is None else _shown(expected.values, expected.refusal)


def _shown(values: dict[str, Any] | None, reason: str) -> str:
    return f"refused: {reason}" if values is None else shown_json(values)


def _plain(step: GoldenStep) -> dict[str, Any]:
    wanted, came = step.wanted, step.came
    return {
        "right": step.right,
        "wanted": None if wanted is None else wanted.values or {"refusal": wanted.refusal},
        "came": None if came is None else came.values or {"refusal": came.reason},
        "frame": came.data.hex() if came else "",
    }
