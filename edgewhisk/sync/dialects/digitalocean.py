"""DigitalOcean Functions. Limits: its page "Functions limits"; keys: its release notes of 2026."""

from __future__ import annotations

from typing import Final

from edgewhisk.sync.credential import Scheme
from edgewhisk.sync.dialects.dialect import Dialect, openwhisk_endpoints

DIALECT: Final = Dialect(
    kind="digitalocean",
    schemes=(Scheme.BASIC,),
    key="dof_v1_NAME:secret, an access key of the namespace",
    hosts=(".doserverless.co",),
    endpoints=openwhisk_endpoints,
    calls_per_minute=600,
    concurrent=120,
    blocking_seconds=30,
    has=frozenset(),  # its triggers are schedules, and its tool refuses sequences
)
