"""Tells when files come, go or change: the only door to inotify."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import inotify_simple


class Seen(NamedTuple):
    """A file that came, went or changed."""

    name: str
    written: bool  # something was written into it


class Watch:
    """Watches the folders of files, without polling.

    Where the kernel has no more watches to give, nothing is told: who watches looks now and then anyway.
    """

    _COMES: Final = (
        inotify_simple.flags.CREATE
        | inotify_simple.flags.MOVED_TO
        | inotify_simple.flags.ATTRIB  # udev sets the owner after the file is there
        | inotify_simple.flags.DELETE
    )
    _WRITTEN: Final = inotify_simple.flags.CLOSE_WRITE | inotify_simple.flags.MODIFY

    def __init__(self, *, writes: bool = False) -> None:
        """Watches nothing yet. `writes`: also tells of files that are written.

        The kernel tells so of every file that was open for writing when it is closed, written or not:
        who opens a file that he watches would take his own closing for news.
        """
        self._mask = self._COMES | self._WRITTEN if writes else self._COMES
        self._inotify = inotify_simple.INotify(nonblocking=True)
        self._watched: dict[str, int] = {}

    def fileno(self) -> int:
        """Readable when something changed."""
        return int(self._inotify.fileno())

    def follow(self, paths: Iterable[str]) -> None:
        """Watch the folders of `paths`: the nearest one that exists."""
        folders = {_folder(path) for path in paths}
        for gone in set(self._watched) - folders:
            self._forget(gone)
        for folder in folders - set(self._watched):
            try:
                self._watched[folder] = self._inotify.add_watch(folder, self._mask)
            except OSError:
                continue  # removed meanwhile, or no watches left

    def changed(self) -> Sequence[Seen]:
        """What happened since the last call."""
        modify = inotify_simple.flags.MODIFY
        return [Seen(event.name, bool(event.mask & modify)) for event in self._inotify.read(timeout=0)]

    def close(self) -> None:
        """Watch no more."""
        self._inotify.close()

    def _forget(self, folder: str) -> None:
        watch = self._watched.pop(folder)
        try:
            self._inotify.rm_watch(watch)
        except OSError:
            return  # the folder itself went


def _folder(path: str) -> str:
    if not path.startswith("/"):  # usb:... : wherever the kernel puts it
        return "/dev"
    folder = Path(path).parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return str(folder)
