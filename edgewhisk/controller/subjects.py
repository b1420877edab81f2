"""Who may log in: subjects and their keys, kept in files that only the service can read."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import string
import uuid
from pathlib import Path
from typing import Final

from edgewhisk.entity.identity import KEY_LENGTH, AuthKey, Identity
from edgewhisk.errors import BadRequest, StorageError, Unauthorized

GUEST: Final = "guest"
_ALPHABET: Final = string.ascii_letters + string.digits


def key_file(state_dir: Path, subject: str = GUEST) -> Path:
    """Where the key of `subject` is kept."""
    return state_dir / "subjects" / subject


def read_key(path: Path) -> AuthKey:
    """The key in a file; raises `StorageError` when there is none or it is damaged."""
    try:
        return AuthKey.parse(path.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    except BadRequest as error:
        raise StorageError(
            f"{path}: {error}", hint="restore it from a backup, or delete it for a new key"
        ) from error


def ensure_key(state_dir: Path, subject: str = GUEST) -> AuthKey:
    """The key of `subject`, made (mode 0600, on disk before it is returned) at first start."""
    path = key_file(state_dir, subject)
    if path.exists():
        return read_key(path)
    key = AuthKey(str(uuid.uuid4()), "".join(secrets.choice(_ALPHABET) for _ in range(KEY_LENGTH)))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(key.compact + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return key


class Subjects:
    """Authenticates callers."""

    def __init__(self, identities: list[Identity]) -> None:
        """Know `identities`."""
        self._by_uuid = {identity.auth.uuid: identity for identity in identities}

    def authenticate(self, uuid_text: str, key: str) -> Identity:
        """The caller with these credentials; raises `Unauthorized`."""
        identity = self._by_uuid.get(uuid_text)
        if identity is None or not hmac.compare_digest(identity.auth.key.encode(), key.encode()):
            raise Unauthorized("The supplied authentication is invalid")
        return identity
