"""The packages of `whisk.system`: feeds and other actions that the gateway itself performs.

They are listed, read and bound like any package; their code is this program.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from edgewhisk.entity.action import Action
from edgewhisk.entity.exec import NATIVE, CodeExec
from edgewhisk.entity.identity import SYSTEM_NAMESPACE, Identity
from edgewhisk.entity.limits import ActionLimits, Limits
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.entity.package import Package
from edgewhisk.entity.parameters import Parameters
from edgewhisk.entity.version import SemVer
from edgewhisk.errors import EdgeWhiskError
from edgewhisk.spi import FeedAction

Found = dict[str, Any] | EdgeWhiskError  # what a call came to
Perform = Callable[[Identity, Sequence[Mapping[str, Any]]], Awaitable[Sequence[Found]]]
Told = Callable[[Mapping[int, Found]], None]


class Alike(NamedTuple):
    """How an action is performed for several calls without a look at the arguments of each."""

    # With what is bound, the text of one JSON object, and the texts of objects over that, one for each call.
    # `Told`, perhaps before it returns, what became of some calls by position; that of the others is `usual`.
    # False, and nothing is done, if the arguments have to be read.
    perform: Callable[[Identity, bytes, Sequence[bytes], Told], bool]
    usual: bytes  # text of the result


@dataclass(frozen=True, slots=True)
class SystemAction:
    """One action of the gateway itself.

    `perform` does it for several calls, and gives errors as values; `alike`, if there is one, does so where
    that is cheaper.
    """

    package: str
    name: str
    description: str
    parameters: Mapping[str, str]
    perform: Perform
    alike: Alike | None = None
    feed: bool = False
    web: bool = False  # whether it may be called by its URL, too, with a key
    recorded: bool = True  # whether a successful run is kept as an activation

    @classmethod
    def of_feed(cls, action: FeedAction, perform: Perform) -> SystemAction:
        """The feed action of a source."""
        return cls(action.package, action.name, action.description, action.parameters, perform, feed=True)

    @property
    def fqn(self) -> FullyQualifiedName:
        """Its full name."""
        return FullyQualifiedName(SYSTEM_NAMESPACE, self.package, self.name)


def each(perform: Callable[[Identity, Mapping[str, Any]], Awaitable[dict[str, Any]]]) -> Perform:
    """One call after the other by a function that raises `EdgeWhiskError` for an application error."""

    async def performing(caller: Identity, given: Sequence[Mapping[str, Any]]) -> Sequence[Found]:
        results: list[Found] = []
        for one in given:
            try:
                results.append(await perform(caller, one))
            except EdgeWhiskError as error:
                results.append(error)
        return results

    return performing


def entities(actions: Sequence[SystemAction], limits: Limits) -> Iterator[Package | Action]:
    """Packages and actions to be listed for `actions`."""
    for name in sorted({action.package for action in actions}):
        described = Parameters.of({"description": f"EdgeWhisk's package {name}"})
        yield Package(
            FullyQualifiedName(SYSTEM_NAMESPACE, None, name), None, Parameters(), described, SemVer(), 0, True
        )
    for action in actions:
        annotations: dict[str, Any] = {
            "exec": NATIVE,
            "description": action.description,
            "parameters": [
                {"name": key, "description": meaning} for key, meaning in action.parameters.items()
            ],
        }
        if action.feed:
            annotations["feed"] = True
        if action.web:
            annotations["web-export"] = True
        yield Action(
            action.fqn,
            CodeExec(NATIVE, ""),
            Parameters(),
            ActionLimits.default(limits),
            Parameters.of(annotations),
            SemVer(),
            0,
            True,
        )
