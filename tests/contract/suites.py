"""How a suite of this folder says what it runs over.

Each module has `SUITE`: the Protocol, and for each class that implements it what makes one in a folder.
`tests/contract/test_all.py` compares that with what there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple


class Suite(NamedTuple):
    """A contract, and who is held to it."""

    protocol: type
    implementations: Mapping[type, Callable[..., Any]]

    @property
    def classes(self) -> list[type]:
        """In order, for `pytest.fixture(params=...)`."""
        return list(self.implementations)


def named(made: type) -> str:
    """The id of a parameter."""
    return made.__name__


def play(scene: Coroutine[Any, Any, None], seconds: float = 60) -> None:
    """Run a scene on a loop of its own; raises `TimeoutError`."""

    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await scene

    asyncio.run(bounded())
