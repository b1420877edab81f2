"""Print `uuid:key` of the default subject, guest, as clients send it.

edgewhisk auth
wsk property set --auth "$(edgewhisk auth)"
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from edgewhisk.config.loader import load
from edgewhisk.config.schema import Config
from edgewhisk.controller.auth.subjects import key_file, read_key
from edgewhisk.errors import StorageError


def options(_parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Print the key."""
    print(guest_key(load(given.config, environment)))
    return 0


def guest_key(config: Config) -> str:
    """The key as text; raises `StorageError` before the first start."""
    path = key_file(config.state_dir)
    try:
        path.parent.stat()
    except PermissionError:
        problem = f"the key of this machine's gateway, {path}, may be read by the gateway's user only"
        raise StorageError(problem, hint="sudo edgewhisk wskprops > ~/.wskprops") from None
    except OSError:
        hint = (
            "edgewhisk run makes it at its first start; --config names the configuration of another gateway"
        )
        raise StorageError(f"there is no key in {config.state_dir}", hint=hint) from None
    return read_key(path).compact
