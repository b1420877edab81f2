"""The file of keys that `[cloud] auth_file` names."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from edgewhisk.base import checked
from edgewhisk.errors import BadRequest, StorageError
from edgewhisk.sync.credential import Credential, Scheme, parse

_LARGEST: Final = 64 << 10  # bytes of a file


def read(path: Path, schemes: Collection[Scheme]) -> tuple[Credential, ...]:
    """The credentials in a file (blocking); raises `StorageError`."""
    try:
        data, _ = checked.read(path)
        if len(data) > _LARGEST:
            raise StorageError(f"{path} has {len(data)} bytes: it is no file of keys")
        return parse(data.decode("ascii"), schemes)
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    except BadRequest as error:
        raise StorageError(f"{path}: {error}") from error
    except ValueError as error:
        raise StorageError(f"{path} is damaged: it is no text in ASCII") from error
