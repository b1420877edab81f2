"""Who may log in: subjects and their keys, kept in files that only the service can read."""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import os
import secrets
import string
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgewhisk.base import checked
from edgewhisk.entity.identity import GUEST, KEY_LENGTH, SYSTEM_NAMESPACE, AuthKey, Identity
from edgewhisk.entity.names import DEFAULT_NAMESPACE, namespace_name
from edgewhisk.errors import BadRequest, Conflict, NotFound, StorageError, Unauthorized

if TYPE_CHECKING:  # the command line reads keys without the seams and what they import
    from edgewhisk.spi import Clock

_log = logging.getLogger(__name__)

_FRESH: Final = 1.0  # seconds that what is known of the files counts as true
_HEADERS: Final = 256  # remembered ones
_LONG: Final = 1024  # characters of one that is not: base64 may be padded without end
_INVALID: Final = "The supplied authentication is invalid"
NO_CREDENTIALS: Final = "The resource requires authentication, which was not supplied with the request"
_ALPHABET: Final = string.ascii_letters + string.digits


def key_file(state_dir: Path, subject: str = GUEST) -> Path:
    """Where the key of `subject` is kept."""
    return state_dir / "subjects" / subject


def read_key(path: Path) -> AuthKey:
    """The key in a file; raises `StorageError` when there is none or it is damaged."""
    try:
        data, trouble = checked.read(path)
        if trouble:
            _log.warning("%s", trouble)
        return AuthKey.parse(data.decode("ascii"))
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        hint = (
            f"restore it from a backup; if this is the key that you want, delete .{path.name}.crc32 beside it"
        )
        raise StorageError(f"{path} is damaged: {error}", hint=hint) from error
    except BadRequest as error:
        raise StorageError(
            f"{path}: {error}", hint="restore it from a backup, or delete it for a new key"
        ) from error


def ensure_key(state_dir: Path, subject: str = GUEST, key: AuthKey | None = None) -> AuthKey:
    """The key of `subject`, made (mode 0600, on disk before it is returned) if there is none.

    `key` is the one to store; a random one without it.
    """
    path = key_file(state_dir, subject)
    if path.exists():
        return read_key(path)
    made = key or AuthKey(str(uuid.uuid4()), "".join(secrets.choice(_ALPHABET) for _ in range(KEY_LENGTH)))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Root may add a subject for a gateway that runs as another user: the folder tells whom.
    owner = path.parent.stat() if os.geteuid() == 0 else None
    checked.write(path, f"{made.compact}\n".encode(), owner=owner)
    return made


def greet(state_dir: Path) -> str:
    """See that there is a guest; what is odd about their key. A damaged one stops nobody else."""
    path = key_file(state_dir)
    gone = checked.was_there(path) and not path.exists()
    try:
        ensure_key(state_dir)
    except StorageError:
        return ""  # `Subjects.problems` tells
    return f"{path} was gone: the guest has a new key (edgewhisk auth shows it)" if gone else ""


def add_subject(state_dir: Path, subject: str, key: AuthKey | None = None) -> AuthKey:
    """Let a new subject log in; raises `Conflict` if it or its key is known, `BadRequest` for its name."""
    check_subject(subject)
    if key_file(state_dir, subject).exists():
        raise Conflict(f"subject {subject} exists already", hint=f"edgewhisk subject get {subject}")
    if (removed_folder(state_dir) / subject).exists():
        problem = f"there was a subject {subject}, and records of its runs are still here"
        raise Conflict(problem, hint="take another name; this one is free when the last of them is gone")
    if key is not None:
        for known in subjects_of(state_dir):
            if read_key(key_file(state_dir, known)).uuid == key.uuid:
                raise Conflict(f"the uuid of this key belongs to subject {known}")
    return ensure_key(state_dir, subject, key)


def remove_subject(state_dir: Path, subject: str) -> None:
    """Let a subject log in no more; raises `NotFound`, and `BadRequest` for the default subject."""
    check_subject(subject)
    if subject == GUEST:
        raise BadRequest(f"{GUEST} is the default subject; it would be made again at the next start")
    path, gone = key_file(state_dir, subject), removed_folder(state_dir)
    try:
        path.rename(gone / subject)
    except FileNotFoundError:
        raise NotFound(f"there is no subject {subject}") from None
    checked.forget(path)
    checked.sync(gone)
    checked.sync(path.parent)


def removed_folder(state_dir: Path) -> Path:
    """Where the files of removed subjects stay while something of theirs is there; made if need be."""
    folder = state_dir / "removed"
    if not folder.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:  # root may remove one of a service that runs as another user
            owner = state_dir.stat()
            os.chown(folder, owner.st_uid, owner.st_gid)
    return folder


def removed_subjects(state_dir: Path) -> list[str]:
    """Names of the removed subjects of which something may still be there."""
    return sorted(entry.name for entry in removed_folder(state_dir).iterdir())


def settled(state_dir: Path, subject: str) -> bool:
    """Whether all that a removed subject had is gone, less the records of its runs."""
    try:
        return (removed_folder(state_dir) / subject).stat().st_size == 0
    except FileNotFoundError:
        return True


def settle_removal(state_dir: Path, subject: str) -> None:
    """Note that all that a removed subject had is gone; its key goes, too."""
    folder = removed_folder(state_dir)
    os.truncate(folder / subject, 0)
    checked.sync(folder / subject)


def release(state_dir: Path, subject: str) -> None:
    """Nothing at all is left of a removed subject: its name may be used again."""
    checked.remove(removed_folder(state_dir) / subject)


def check_subject(subject: str) -> None:
    """Raise `BadRequest` unless `subject` can be one: its namespace has the same name."""
    namespace_name(subject)
    if subject in (SYSTEM_NAMESPACE, DEFAULT_NAMESPACE):
        raise BadRequest(f"{subject} is reserved")


def subjects_of(state_dir: Path) -> list[str]:
    """Names of all subjects, sorted."""
    folder = key_file(state_dir).parent
    return sorted(entry.name for entry in folder.iterdir() if entry.name[0] != ".") if folder.exists() else []


class Subjects:
    """Authenticates callers. Follows the files, so that subjects come and go without a restart."""

    def __init__(self, state_dir: Path, clock: Clock) -> None:
        """Know the subjects in `state_dir` from the first question on."""
        self._state_dir = state_dir
        self._clock = clock
        self._looked = -_FRESH
        self._seen: tuple[object, ...] = ()
        self._changed = 0  # when the folder of the files last changed, ns
        self._by_uuid: dict[str, Identity] = {}
        self._by_name: dict[str, Identity] = {}
        self._by_header: dict[str, Identity] = {}  # only headers that were right
        self.troubles: dict[str, str] = {}  # what is wrong with the files of subjects, by name

    def authorize(self, header: str) -> Identity:
        """Who an Authorization header belongs to; raises `Unauthorized`.

        A key that is not known yet may be that of a subject that was added a moment ago.
        """
        self._look()
        try:
            return self._find(header)
        except Unauthorized:
            if self._folder_changed() == self._changed:
                raise
        self.refresh()
        return self._find(header)

    def refresh(self) -> None:
        """Know the files as they are now."""
        self._looked = -_FRESH
        self._look()

    def _find(self, header: str) -> Identity:
        known = self._by_header.get(header)
        if known is not None:
            return known
        scheme, _, credentials = header.partition(" ")
        if scheme.lower() != "basic":
            raise Unauthorized(NO_CREDENTIALS, challenge=True)
        try:
            uuid_text, _, key = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            raise Unauthorized(_INVALID, challenge=True) from None
        identity = self._by_uuid.get(uuid_text)
        if identity is None or not hmac.compare_digest(identity.auth.key.encode(), key.encode()):
            raise Unauthorized(_INVALID, challenge=True)
        if len(self._by_header) < _HEADERS and len(header) <= _LONG:
            self._by_header[header] = identity
        return identity

    def of(self, namespace: str) -> Identity:
        """The subject whose namespace this is; raises `NotFound`."""
        found = self.find(namespace)
        if found is None:
            raise NotFound(f"there is no subject {namespace}")
        return found

    def find(self, namespace: str) -> Identity | None:
        """The same, or None."""
        self._look()
        return self._by_name.get(namespace)

    def _look(self) -> None:
        """Read the files again if they changed, at most once a second."""
        now = self._clock.monotonic()
        if now - self._looked < _FRESH:
            return
        self._looked = now
        self._changed = self._folder_changed()
        names = subjects_of(self._state_dir)
        states = [(name, _state_of(key_file(self._state_dir, name))) for name in names]
        if tuple(states) == self._seen:
            return
        self.troubles = {}
        found = [identity for name in names if (identity := self._read(name))]
        self._by_uuid = {identity.auth.uuid: identity for identity in found}
        self._by_name = {identity.namespace: identity for identity in found}
        self._by_header = {}
        self._seen = tuple(states)

    def _folder_changed(self) -> int:
        try:
            return key_file(self._state_dir).parent.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _read(self, name: str) -> Identity | None:
        """One damaged file locks out its own subject only, and is told."""
        try:
            return Identity(name, name, read_key(key_file(self._state_dir, name)))
        except (StorageError, BadRequest) as error:
            self.troubles[name] = f"subject {name} cannot log in: {error.advice}"
            _log.warning("%s", self.troubles[name])
            return None

    def problems(self) -> list[str]:
        """For `status`: who cannot log in, and why."""
        self._look()
        return list(self.troubles.values())


def _state_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
