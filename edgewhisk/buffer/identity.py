"""The ids by which a cloud knows this gateway's log: `device` for ever, `epoch` for one log."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path
from typing import Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.buffer.disk import Disk

_MOST: Final = 4096  # bytes


class StoreIdentity(NamedTuple):
    """Two ids of 32 hex characters, and what was odd about reading or keeping them."""

    device: str
    epoch: str
    incidents: tuple[str, ...] = ()


def store_identity(disk: Disk, directory: Path, *, fresh: bool) -> StoreIdentity:
    """Read the ids, or make them; a `fresh` log gets a new epoch.

    Ids that the disk will not keep hold for this life: what is numbered under them is sent again
    under others later, and known by its activation ids.
    """
    path = directory / "identity"
    incidents: tuple[str, ...] = ()
    device = epoch = ""
    try:
        known = jsontext.loads(disk.read(path, 0, _MOST))
        device, epoch = str(known.get("device", "")), str(known.get("epoch", ""))
    except FileNotFoundError:
        pass
    except (OSError, jsontext.NotJson, AttributeError):
        incidents = (f"{path} was unreadable; the cloud sees a new device",)
    wanted = StoreIdentity(
        device or secrets.token_hex(16), secrets.token_hex(16) if fresh or not epoch else epoch, incidents
    )
    if (device, epoch) == wanted[:2]:
        return wanted
    try:
        _replace(disk, path, jsontext.dumps({"device": wanted.device, "epoch": wanted.epoch}))
    except OSError as error:
        return wanted._replace(incidents=(*incidents, f"{path} cannot be written: {error.strerror}"))
    return wanted


def _replace(disk: Disk, path: Path, data: bytes) -> None:
    """Put a small file in place; durable on return."""
    draft = path.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        disk.remove(draft)
    file = disk.open(draft, new=True)
    try:
        disk.write(file, data, 0)
        disk.sync(file)
    finally:
        disk.close(file)
    disk.rename(draft, path)
    disk.sync_directory(path.parent)
