"""Why a server was not trusted, in words that say what to do."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

_NOT_YET: Final = 9  # X509_V_ERR_CERT_NOT_YET_VALID
_EXPIRED: Final = 10  # X509_V_ERR_CERT_HAS_EXPIRED


def reason(error: BaseException) -> str:
    """What went wrong; where a certificate was refused for its dates, that it may be the clock."""
    for one in _causes(error):
        if isinstance(one, ssl.SSLCertVerificationError) and one.verify_code in (_NOT_YET, _EXPIRED):
            today = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
            if one.verify_code == _NOT_YET:
                return (
                    f"the clock of this gateway says {today}, and the server's certificate is not valid yet: "
                    "set the clock, or give it a network with NTP; it is tried again as soon as it is set"
                )
            return f"the server's certificate has expired, or this gateway's clock is wrong: it says {today}"
    return str(error) or type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
