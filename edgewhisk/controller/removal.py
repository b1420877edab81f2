"""Takes away what removed subjects had, so that it neither goes on nor serves the next of that name.

`subject remove` moves the subject's file to the folder `removed`, in one step: from then on nobody logs in
as it, and what is still to be done stands on disk. Everything here may be cut off anywhere and is done again
at the next look or start. Records of its runs cannot be taken out of the log; its name stays taken until
retention has dropped the last one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from edgewhisk.base.file_watch import Watch
from edgewhisk.controller.auth.subjects import (
    Subjects,
    release,
    removed_folder,
    removed_subjects,
    settle_removal,
    settled,
)
from edgewhisk.controller.auth.tokens import remove_tokens
from edgewhisk.controller.entities import Entities
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.errors import StorageError
from edgewhisk.spi import ActivationStore, Query

_log = logging.getLogger(__name__)

LOOK: Final = 60.0  # seconds between two looks if nobody is removed


class Removal:
    """Follows the folder `removed`."""

    def __init__(
        self,
        state_dir: Path,
        entities: Entities,
        subjects: Subjects,
        store: ActivationStore,
        forget: Callable[[str], None],
        stop: Callable[[FullyQualifiedName], Awaitable[None]],
    ) -> None:
        """`forget` may block: the state of all actions of a namespace goes. `stop` the feed of a trigger."""
        self._state_dir = state_dir
        self._entities = entities
        self._subjects = subjects
        self._store = store
        self._forget = forget
        self._stop = stop

    async def run(self) -> None:
        """Look whenever a subject is removed, until cancelled."""
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        with contextlib.closing(Watch(writes=True)) as watch:  # a step that is done is a write
            watch.follow([str(await asyncio.to_thread(removed_folder, self._state_dir) / "any")])
            loop.add_reader(watch.fileno(), _tell, watch, told)
            try:
                while True:
                    told.clear()
                    await self.look()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK):
                            await told.wait()
            finally:
                loop.remove_reader(watch.fileno())

    async def look(self) -> None:
        """Take away what is there of the removed; what the disk refuses is tried again at the next look."""
        for subject in await asyncio.to_thread(removed_subjects, self._state_dir):
            try:
                await self._take(subject)
            except (StorageError, OSError) as error:
                _log.warning("what the removed subject %s had is still here: %s", subject, error)

    async def _take(self, subject: str) -> None:
        before = await asyncio.to_thread(settled, self._state_dir, subject)
        self._subjects.refresh()  # nobody who was logged in makes anything new from here on
        found = await self._take_entities(subject)
        await asyncio.to_thread(self._forget, subject)
        await asyncio.to_thread(remove_tokens, self._state_dir, subject)
        if not before:
            await asyncio.to_thread(settle_removal, self._state_dir, subject)
            _log.info("what the removed subject %s had is gone", subject)
        elif not found and not await asyncio.to_thread(self._store.count, Query(subject)):
            await asyncio.to_thread(release, self._state_dir, subject)

    async def _take_entities(self, namespace: str) -> bool:
        """Whether there were any."""
        inside = namespace + "/"
        async with self._entities.changing():
            for key in [key for key in self._entities.feeds if key.startswith(inside)]:
                await self._stop(parse_name(key, "_"))
            changes = [
                (collection, key, None)
                for collection, keys in self._entities.stored()
                for key in keys
                if key.startswith(inside)
            ]
            if changes:
                await self._entities.write(*changes)
        return bool(changes)


def _tell(watch: Watch, told: asyncio.Event) -> None:
    watch.changed()
    told.set()
