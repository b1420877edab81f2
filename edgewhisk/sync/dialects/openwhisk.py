"""Apache OpenWhisk 2, and another EdgeWhisk. Limits: its `ansible/group_vars/all`, `docs/reference.md`."""

from __future__ import annotations

from typing import Final

from edgewhisk.sync.credential import Scheme
from edgewhisk.sync.dialects.dialect import Dialect, openwhisk_endpoints

DIALECT: Final = Dialect(
    kind="openwhisk", schemes=(Scheme.BASIC,), key="uuid:key", endpoints=openwhisk_endpoints
)
