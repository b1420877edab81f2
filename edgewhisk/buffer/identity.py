"""The ids by which a cloud knows this gateway's log: `device` for ever, `epoch` for one log."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import NamedTuple

import orjson

from edgewhisk.buffer.log import storage_error


class StoreIdentity(NamedTuple):
    """Two ids of 32 hex characters, and what was odd about reading them."""

    device: str
    epoch: str
    incidents: tuple[str, ...] = ()


def store_identity(directory: Path, *, fresh: bool) -> StoreIdentity:
    """Read the ids, or make them; a `fresh` log gets a new epoch. Raises `StorageError`."""
    path = directory / "identity"
    incidents: tuple[str, ...] = ()
    try:
        known = orjson.loads(path.read_bytes()) if path.exists() else {}
        device, epoch = str(known.get("device", "")), str(known.get("epoch", ""))
    except (OSError, orjson.JSONDecodeError, AttributeError):
        device = epoch = ""
        incidents = (f"{path} was unreadable; the cloud sees a new device",)
    wanted = StoreIdentity(
        device or secrets.token_hex(16), secrets.token_hex(16) if fresh or not epoch else epoch, incidents
    )
    if (device, epoch) != wanted[:2]:
        try:
            _replace(path, orjson.dumps({"device": wanted.device, "epoch": wanted.epoch}))
        except OSError as error:
            raise storage_error(path, error) from error
    return wanted


def _replace(path: Path, data: bytes) -> None:
    """Put a small file in place; durable on return."""
    draft = path.with_suffix(".new")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, data)
        os.fsync(file)
    finally:
        os.close(file)
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
