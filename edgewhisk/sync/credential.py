"""What a gateway proves itself with to its cloud: lines of a file. Pure.

    name:secret                      HTTP Basic: OpenWhisk's uuid:key, DigitalOcean's access key
    bearer TOKEN                     a token; of a JSON Web Token the end is known
    hmac SECRET                      the body is signed: X-EdgeWhisk-Signature: sha256=HEX (RFC 2104)
    name:secret until 2027-01-31     any of them: the day on which it ends

Several lines are tried one after the other, so that a key can be changed without a gap. Lines that are empty
or begin with # count for nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from enum import Enum
from typing import Final

from edgewhisk import jsontext
from edgewhisk.errors import BadRequest

SIGNATURE: Final = "X-EdgeWhisk-Signature"
_MOST: Final = 8  # lines with a credential
_UNTIL: Final = " until "


class Scheme(Enum):
    """How one is shown to the cloud."""

    BASIC = "name:secret"
    BEARER = "bearer TOKEN"
    HMAC = "hmac SECRET"


@dataclass(frozen=True, slots=True)
class Credential:
    """One of them."""

    scheme: Scheme
    secret: str = field(repr=False)
    until: datetime | None = None  # when it ends, if that is known

    def headers(self, body: bytes) -> dict[str, str]:
        """The header fields of a request with this body."""
        if self.scheme is Scheme.BASIC:
            return {"Authorization": f"Basic {base64.b64encode(self.secret.encode()).decode()}"}
        if self.scheme is Scheme.BEARER:
            return {"Authorization": f"Bearer {self.secret}"}
        return {SIGNATURE: f"sha256={hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()}"}


def parse(text: str, schemes: Collection[Scheme]) -> tuple[Credential, ...]:
    """The credentials in a file's text; raises `BadRequest` that names the line, never what is in it."""
    found = tuple(_lines(text, schemes))
    if not found:
        raise BadRequest("there is no key in it")
    if len(found) > _MOST:
        raise BadRequest(f"there are {len(found)} keys in it; at most {_MOST} go")
    return found


def _lines(text: str, schemes: Collection[Scheme]) -> Iterator[Credential]:
    for number, whole in enumerate(text.splitlines(), 1):
        line = whole.strip()
        if not line or line.startswith("#"):
            continue
        line, _, until = line.partition(_UNTIL)
        try:
            one = _credential(line.strip(), until.strip())
        except ValueError as error:
            raise BadRequest(f"line {number}: {error}") from None  # the cause may show the key
        if one.scheme not in schemes:
            ways = " or ".join(scheme.value for scheme in schemes)
            raise BadRequest(f"line {number}: this kind of cloud takes {ways}, not {one.scheme.value}")
        yield one


def _credential(line: str, until: str) -> Credential:
    if not line.isascii() or not line.isprintable():
        raise ValueError("a key has printable ASCII characters only")
    word, _, rest = line.partition(" ")
    if rest and word.lower() in ("bearer", "hmac"):
        scheme, secret = Scheme[word.upper()], rest.strip()
    elif not rest and (parts := line.partition(":"))[0] and parts[2]:
        scheme, secret = Scheme.BASIC, line
    else:
        raise ValueError(f"it must be {', '.join(scheme.value for scheme in Scheme)}")
    return Credential(scheme, secret, _day(until) if until else _end_of_token(scheme, secret))


def _day(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        raise ValueError("behind `until` must be a day, 2027-01-31") from None


def _end_of_token(scheme: Scheme, secret: str) -> datetime | None:
    """`exp` of a JSON Web Token (RFC 7519, 4.1.4); None if it is none."""
    parts = secret.split(".")
    if scheme is not Scheme.BEARER or len(parts) != 3:
        return None
    try:
        claims = jsontext.parse(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))).value
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (binascii.Error, jsontext.NotJson, KeyError, TypeError, ValueError, OverflowError, OSError):
        return None
