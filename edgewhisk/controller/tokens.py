"""Tokens of devices that POST: each is good for one trigger. Only their hashes are kept."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.errors import BadRequest, Forbidden, NotFound, Unauthorized

if TYPE_CHECKING:  # the command line makes tokens without the seams and what they import
    from edgewhisk.spi import Clock

_FRESH: Final = 1.0  # seconds that what is known of the files counts as true
_TICK: Final = 50_000_000  # ns
_LONGEST: Final = 64  # characters of a device's name
_SHOWN: Final = 12  # characters of a hash that name a token


class DeviceToken(NamedTuple):
    """What a token is good for."""

    id: str  # beginning of its hash: to list and remove it
    trigger: str  # "/guest/t"
    device: str


def folder(state_dir: Path) -> Path:
    """Where tokens are kept."""
    return state_dir / "tokens"


def add_token(state_dir: Path, trigger: FullyQualifiedName, device: str) -> str:
    """A new token, shown this once."""
    if not device or len(device) > _LONGEST or not device.isprintable():
        raise BadRequest(f"a device's name has 1 to {_LONGEST} printable characters")
    token = secrets.token_urlsafe(32)
    where = folder(state_dir)
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    path, half = where / _hash(token), where / f".{_hash(token)}"
    # Under its name when it is whole: the gateway reads the folder when a name comes or goes.
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(jsontext.dumps({"trigger": str(trigger), "device": device}).decode())
        if os.geteuid() == 0:  # root may add one for a service that runs as another user
            owner = state_dir.stat()
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            os.chown(where, owner.st_uid, owner.st_gid)
        file.flush()
        os.fsync(file.fileno())
    half.rename(path)
    folder_fd = os.open(where, os.O_RDONLY)
    try:
        os.fsync(folder_fd)
    finally:
        os.close(folder_fd)
    return token


def tokens_of(state_dir: Path) -> dict[str, DeviceToken]:
    """All tokens by their hash; damaged files are no tokens."""
    where = folder(state_dir)
    found = {}
    for path in sorted(where.iterdir()) if where.exists() else []:
        if path.name.startswith("."):
            continue  # being written
        try:
            document: Any = jsontext.loads(path.read_bytes())
            parse_name(document["trigger"], "_")
            found[path.name] = DeviceToken(path.name[:_SHOWN], document["trigger"], str(document["device"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, BadRequest):
            continue
    return found


def remove_tokens(state_dir: Path, namespace: str) -> None:
    """Make all tokens for triggers of a namespace worthless."""
    for name, token in tokens_of(state_dir).items():
        if token.trigger.startswith(f"/{namespace}/"):
            (folder(state_dir) / name).unlink(missing_ok=True)


def remove_token(state_dir: Path, shown: str) -> None:
    """Make a token worthless; raises `NotFound`."""
    fitting = [name for name, token in tokens_of(state_dir).items() if token.id == shown]
    if not fitting:
        raise NotFound(f"there is no token {shown}", hint="edgewhisk device tokens")
    for name in fitting:
        (folder(state_dir) / name).unlink()


class DeviceTokens:
    """Recognises devices. Follows the files within a second."""

    def __init__(self, state_dir: Path, clock: Clock) -> None:
        """Know the tokens in `state_dir` from the first question on."""
        self._state_dir = state_dir
        self._clock = clock
        self._looked = -_FRESH
        self._seen: int | None = None
        self._known: dict[str, DeviceToken] = {}

    def check(self, header: str, trigger: FullyQualifiedName) -> str:
        """The device whose token this is; raises `Unauthorized` or `Forbidden`."""
        self._look()
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized("a device sends: Authorization: Bearer TOKEN")
        found = self._known.get(_hash(token.strip()))
        if found is None:
            raise Unauthorized("there is no such token: edgewhisk device token makes one")
        if parse_name(found.trigger, "_") != trigger:
            raise Forbidden(trigger.key)
        return found.device

    def _look(self) -> None:
        now = self._clock.monotonic()
        if now - self._looked < _FRESH:
            return
        self._looked = now
        where = folder(self._state_dir)
        seen = where.stat().st_mtime_ns if where.exists() else None
        if seen == self._seen:
            return
        # What changes within the same tick of the kernel's clock (10 ms at most) changes no time.
        settled = seen is None or self._clock.now() * 1_000_000 - seen > _TICK
        self._seen = seen if settled else None
        self._known = tokens_of(self._state_dir)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
