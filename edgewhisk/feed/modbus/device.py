"""One Modbus device that is polled, and where its bus is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from edgewhisk.device.modbus.registers import RegisterRequest, requests
from edgewhisk.device.profile import Profile
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.feed.heard import BEGINNING, Moment


class Address(NamedTuple):
    """Where a bus is: a serial port or a host."""

    port: str = ""  # path or usb:...
    host: str = ""
    tcp_port: int = 0

    def __str__(self) -> str:
        """For events and messages."""
        return self.port or f"{self.host}:{self.tcp_port}"


@dataclass(slots=True)
class Device:
    """One device that is polled for one trigger."""

    trigger: FullyQualifiedName
    unit: int
    profile: Profile
    every: float  # seconds
    timeout: float  # seconds for an answer
    wanted: tuple[str, ...] = ()  # points; none: all
    questions: tuple[RegisterRequest, ...] = field(init=False)
    due: float = 0.0  # monotonic
    proven: bool = False  # it answered one of its questions as it is
    short: bool = False  # it answers short questions only
    failed: int = 0  # polls in a row that gave nothing
    polls: int = 0
    errors: int = 0
    last_error: str = ""
    since: Moment = BEGINNING  # when it was first polled
    last: Moment | None = None  # when it last gave a value

    def __post_init__(self) -> None:
        """The questions follow from the profile."""
        points = tuple(one for one in self.profile.points if not self.wanted or one.name in self.wanted)
        self.questions = requests(replace(self.profile, points=points))
