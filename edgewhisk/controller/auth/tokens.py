"""Tokens of devices that POST: each is good for one trigger. Only their hashes are kept."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.base import checked
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.errors import UNREADABLE, BadRequest, Forbidden, NotFound, Unauthorized

if TYPE_CHECKING:  # the command line makes tokens without the seams and what they import
    from edgewhisk.spi import Clock

_FRESH: Final = 1.0  # seconds that what is known of the files counts as true
_TICK: Final = 50_000_000  # ns
_LONGEST: Final = 64  # characters of a device's name
_SHOWN: Final = 12  # characters of a hash that name a token
_LOST: Final = "the device with this token is refused: restore the file, or make a new token and remove {}"


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
    # Root may add one for a service that runs as another user.
    owner = state_dir.stat() if os.geteuid() == 0 else None
    if owner is not None:
        os.chown(where, owner.st_uid, owner.st_gid)
    document = {"trigger": str(trigger), "device": device}
    checked.write(where / _hash(token), jsontext.dumps(document), owner=owner)
    return token


def tokens_of(state_dir: Path) -> dict[str, DeviceToken]:
    """All tokens by their hash; damaged files are no tokens."""
    return _survey(state_dir)[0]


def _survey(state_dir: Path) -> tuple[dict[str, DeviceToken], list[str]]:
    """All tokens by their hash, and what is wrong with files of tokens."""
    found, troubles = {}, []
    for name in _names(state_dir):
        path = folder(state_dir) / name
        try:
            data, trouble = checked.read(path)
            document: Any = jsontext.loads(data)
            parse_name(document["trigger"], "_")
            found[name] = DeviceToken(name[:_SHOWN], document["trigger"], str(document["device"]))
        except UNREADABLE as error:
            trouble = f"{path} is damaged: {error}; {_LOST.format(name[:_SHOWN])}"
        except FileNotFoundError:
            trouble = f"{path} is gone; {_LOST.format(name[:_SHOWN])}"
        except OSError as error:
            trouble = f"{path} cannot be read ({error.strerror}): the device with this token is refused"
        if trouble:
            troubles.append(trouble)
    return found, troubles


def _names(state_dir: Path) -> list[str]:
    """Hashes of all tokens that there are or, by their checksums, should be."""
    where = folder(state_dir)
    names = [path.name for path in where.iterdir()] if where.exists() else []
    files = {name for name in names if not name.startswith(".")}
    return sorted(files | set(filter(None, map(checked.told_by, names))))


def remove_tokens(state_dir: Path, namespace: str) -> None:
    """Make all tokens for triggers of a namespace worthless."""
    for name, token in tokens_of(state_dir).items():
        if token.trigger.startswith(f"/{namespace}/"):
            checked.remove(folder(state_dir) / name)


def remove_token(state_dir: Path, shown: str) -> None:
    """Make a token worthless, or remove what is left of it; raises `NotFound`."""
    fitting = [name for name in _names(state_dir) if name[:_SHOWN] == shown]
    if not fitting:
        raise NotFound(f"there is no token {shown}", hint="edgewhisk device tokens")
    for name in fitting:
        checked.remove(folder(state_dir) / name)


class DeviceTokens:
    """Recognises devices. Follows the files within a second."""

    def __init__(self, state_dir: Path, clock: Clock) -> None:
        """Know the tokens in `state_dir` from the first question on."""
        self._state_dir = state_dir
        self._clock = clock
        self._looked = -_FRESH
        self._seen: int | None = None
        self._known: dict[str, DeviceToken] = {}
        self._troubles: list[str] = []

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

    def device_of(self, token: str) -> str:
        """The device whose token it is, "" if it is none's."""
        self._look()
        found = self._known.get(_hash(token))
        return found.device if found is not None else ""

    def problems(self) -> list[str]:
        """For `status`: what is wrong with files of tokens."""
        self._look()
        return list(self._troubles)

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
        self._known, self._troubles = _survey(self._state_dir)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
