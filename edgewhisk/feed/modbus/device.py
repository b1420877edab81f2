"""One Modbus device that is polled."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from edgewhisk.device.modbus.registers import RegisterRequest, requests
from edgewhisk.device.profile import Profile
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.feed.heard import BEGINNING, Moment


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
