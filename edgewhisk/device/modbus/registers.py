"""Modbus register maps: which requests a profile needs, and what the answers mean. Pure.

Source: Modbus application protocol specification V1.1b3; values of more than 16 bits are not in it,
and each maker orders their words in his own way.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from edgewhisk.device.decode import Undecodable, read_struct, reading
from edgewhisk.device.profile import Point, Profile
from edgewhisk.device.reading import Quality, Reading

_WORDS: Final[Mapping[str, int]] = {"u32": 2, "i32": 2, "f32": 2, "u64": 4, "i64": 4, "f64": 4}
BITS: Final = frozenset({"coil", "discrete"})


class RegisterRequest(NamedTuple):
    """Registers or bits that are read at once."""

    table: str
    first: int
    size: int  # registers or bits
    points: tuple[Point, ...]


def requests(profile: Profile) -> tuple[RegisterRequest, ...]:
    """As few requests as the profile's `most` and `gap` allow, by table and address."""
    made: list[RegisterRequest] = []
    for point in sorted(profile.points, key=lambda point: (point.table, point.at)):
        end = point.at + words(point)
        last = made[-1] if made else None
        if (
            last is not None
            and last.table == point.table
            and point.at - (last.first + last.size) <= profile.modbus.gap
            and end - last.first <= profile.modbus.most
        ):
            made[-1] = last._replace(size=max(last.size, end - last.first), points=(*last.points, point))
        else:
            made.append(RegisterRequest(point.table, point.at, words(point), (point,)))
    return tuple(made)


def halves(request: RegisterRequest) -> tuple[RegisterRequest, ...]:
    """The same in two requests, of a request with several points."""
    middle = len(request.points) // 2
    return tuple(_of(request.table, points) for points in (request.points[:middle], request.points[middle:]))


def singles(request: RegisterRequest) -> tuple[RegisterRequest, ...]:
    """The same in a request for each point."""
    return tuple(_of(request.table, (point,)) for point in request.points)


def _of(table: str, points: tuple[Point, ...]) -> RegisterRequest:
    first = points[0].at
    return RegisterRequest(table, first, max(point.at + words(point) for point in points) - first, points)


def words(point: Point) -> int:
    """Registers that a point takes."""
    return 1 if point.table in BITS else _WORDS.get(point.type, 1)


def readings(request: RegisterRequest, answer: Sequence[int]) -> tuple[Reading, ...]:
    """What an answer says of the points; `answer` as 16-bit numbers, or as 0 and 1 of bits."""
    return tuple(_read(request, point, answer) for point in request.points)


def failures(request: RegisterRequest, reason: str) -> tuple[Reading, ...]:
    """The points of a request that was not answered."""
    return tuple(Reading(point.name, None, point.unit, Quality.FAILED, reason) for point in request.points)


def _read(request: RegisterRequest, point: Point, answer: Sequence[int]) -> Reading:
    first = point.at - request.first
    found = answer[first : first + words(point)]
    try:
        if len(found) < words(point):
            raise Undecodable(f"{point.name}: the answer is too short")
        if point.table in BITS:
            return Reading(point.name, bool(found[0]), point.unit)
        return reading(point, read_struct(point, _octets(point, found), 0))
    except Undecodable as error:
        return Reading(point.name, None, point.unit, Quality.FAILED, str(error))


def _octets(point: Point, found: Sequence[int]) -> bytes:
    """The bytes of a value as its order wants them: Modbus sends each register's high byte first."""
    ordered = found[::-1] if point.swapped else found
    data = struct.pack(f">{len(ordered)}H", *ordered)
    if words(point) == 1 and point.type in ("u8", "i8"):
        return data[1:]
    return data
