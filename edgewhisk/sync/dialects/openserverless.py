"""Apache OpenServerless: an OpenWhisk controller whose operator hands out the keys (`nuvolaris/util.py`)."""

from __future__ import annotations

from typing import Final

from edgewhisk.sync.credential import Scheme
from edgewhisk.sync.dialects.dialect import Dialect, openwhisk_endpoints

DIALECT: Final = Dialect(
    kind="openserverless",
    schemes=(Scheme.BASIC,),
    key="uuid:key, the AUTH that `ops -login` shows",
    endpoints=openwhisk_endpoints,
)
