"""The ids by which a cloud knows this gateway's log: `device` for ever, `epoch` for one log."""

from __future__ import annotations

import contextlib
import re
import secrets
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from edgewhisk import jsontext
from edgewhisk.errors import UNREADABLE
from edgewhisk.store.log.disk import Disk

_MOST: Final = 4096  # bytes
_ID: Final = re.compile(r"[0-9a-f]{32}")
_KEYS: Final = {"device", "epoch", "crc32"}


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
        device, epoch = _known(disk.read(path, 0, _MOST))
    except FileNotFoundError:
        if not fresh:
            incidents = (f"{path} is gone; the cloud sees a new device",)
    except (OSError, *UNREADABLE):
        incidents = (f"{path} is damaged; the cloud sees a new device",)
    wanted = StoreIdentity(
        device or secrets.token_hex(16), secrets.token_hex(16) if fresh or not epoch else epoch, incidents
    )
    if (device, epoch) == wanted[:2]:
        return wanted
    try:
        _replace(disk, path, _document(wanted.device, wanted.epoch))
    except OSError as error:
        return wanted._replace(incidents=(*incidents, f"{path} cannot be written: {error.strerror}"))
    return wanted


def _document(device: str, epoch: str) -> bytes:
    return jsontext.dumps({"device": device, "epoch": epoch, "crc32": _check(device, epoch)})


def _known(data: bytes) -> tuple[str, str]:
    """The ids in the file; raises one of `UNREADABLE`. Files of old have no checksum."""
    known = jsontext.loads(data)
    device, epoch = str(known["device"]), str(known["epoch"])
    if known.get("crc32", check := _check(device, epoch)) != check:
        raise ValueError("the checksum is that of other ids")
    if not all(_ID.fullmatch(one) for one in (device, epoch)) or known.keys() - _KEYS:
        raise ValueError("no ids")
    return device, epoch


def _check(device: str, epoch: str) -> str:
    return f"{crc32(f'{device} {epoch}'.encode()):08x}"


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
