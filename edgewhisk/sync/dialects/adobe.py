"""Adobe I/O Runtime. Limits: its guide "System settings"; what it keeps: "Logging and monitoring"."""

from __future__ import annotations

from typing import Final

from edgewhisk.sync.credential import Scheme
from edgewhisk.sync.dialects.dialect import Dialect, openwhisk_endpoints

DIALECT: Final = Dialect(
    kind="adobe",
    schemes=(Scheme.BASIC, Scheme.BEARER),
    key="uuid:key, the AIO_runtime_auth of the project",
    hosts=(".adobeioruntime.net",),
    endpoints=openwhisk_endpoints,
    calls_per_minute=6000,
    concurrent=100,
    list_page=50,
    late_results=False,  # a blocking call that succeeds is not kept: the batch is sent again instead
)
