"""A request as the handlers see it, whoever routed it, and what they answer."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.entity.identity import Identity
from edgewhisk.entity.names import DEFAULT_NAMESPACE, FullyQualifiedName, entity_name, namespace_name
from edgewhisk.errors import (
    BadRequest,
    EdgeWhiskError,
    MalformedContent,
    StorageError,
    Throttled,
    TooLarge,
    Unauthorized,
    UnsupportedMedia,
)

JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"
PLAIN: Final = "text/plain; charset=UTF-8"
REQUEST_ID: Final = "X-Request-ID"
ACTIVATION_ID: Final = "x-openwhisk-activation-id"
DRAINED: Final = 16 << 20  # bytes of a refused body that are taken
_ACCEPTABLE_ID: Final = re.compile(r"(?!sid_)[\w.-]{1,128}", re.ASCII)
_MEDIA: Final = re.compile(
    r"\s*[!#$%&'*+.^_`|~\w-]+/[!#$%&'*+.^_`|~\w-]+\s*(;|$)", re.ASCII
)  # RFC 9110, 8.3.1
_LEARNED: Final = 31_536_000  # s: a clock that begins at 1970 is not set within its first year
_CHALLENGE: Final = 'Basic realm="OpenWhisk secure realm",charset=UTF-8'
CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": (
        "Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent"
    ),
    "Access-Control-Allow-Methods": "GET, DELETE, POST, PUT, HEAD",
}


class HttpResponse(NamedTuple):
    """What goes back, besides the request id and CORS."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = JSON  # "" where there is no body
    more: AsyncIterator[bytes] | None = None  # of the body, where it is too large to be made at once

    @classmethod
    def of(cls, value: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> HttpResponse:
        """A JSON document."""
        return cls(status, jsontext.dumps(value), headers)


class HttpRequest(NamedTuple):
    """A request whose body may not have arrived yet."""

    method: str
    query: bytes
    headers: list[tuple[bytes, bytes]]  # names in lower case
    read: Callable[[int], Awaitable[bytes]]  # the body; raises `TooLarge` beyond so many bytes
    id: str  # of the request, also the `code` of its errors

    def header(self, name: bytes) -> str:
        """The value of a header, or nothing."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return ""

    @property
    def length(self) -> int:
        """Content-Length, 0 where it is missing."""
        text = self.header(b"content-length")
        return int(text) if text.isascii() and text.isdigit() else 0

    async def payload(self, allowed: int) -> bytes:
        """The body as one JSON object without line breaks; `{}` when there is none."""
        data = await self.read(allowed)
        if not data:
            return b"{}"
        parsed = self._parsed(data)
        if not isinstance(parsed.value, dict):
            raise MalformedContent("JSON object expected")
        return parsed.text if parsed.value else b"{}"

    async def document(self, allowed: int) -> Any:
        """The body as a JSON value; raises with OpenWhisk's texts."""
        self.check_length(allowed)
        if data := await self.read(allowed):
            return self._parsed(data).value
        raise BadRequest("Request entity expected but not supplied")

    def check_length(self, allowed: int) -> None:
        """Raise `TooLarge` by what the request says about itself, before anything is read."""
        if (size := self.length) > allowed:
            raise too_large(size, allowed)

    def _parsed(self, data: bytes) -> jsontext.Parsed:
        content_type = typed(self.header(b"content-type"))
        if content_type.partition(";")[0].strip().lower() != JSON:
            raise UnsupportedMedia(
                f"The request's Content-Type [{content_type}] is not supported. Expected:\n{JSON}"
            )
        try:
            return jsontext.parse(data)
        except jsontext.NotJson as error:
            raise MalformedContent(str(error)) from None


def typed(content_type: str) -> str:
    """A Content-Type as it was given; what is none, or missing, says that the body is just bytes."""
    return content_type if _MEDIA.match(content_type) else BYTES


def date() -> str:
    """The value of a Date header, or nothing: a machine that has not learned the time has none to tell."""
    second = int(time.time())
    return _date(second) if second > _LEARNED else ""


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def too_large(size: int, allowed: int) -> TooLarge:
    """OpenWhisk's text."""
    return TooLarge(f"Request larger than allowed: {size} > {allowed} bytes.")


def full_name(
    identity: Identity, namespace: str, name: str, package: str | None = None
) -> FullyQualifiedName:
    """The entity that the path names; raises `BadRequest` for illegal names."""
    return _full_name(identity.namespace, namespace, name, package)


@lru_cache(maxsize=4096)
def _full_name(own: str, namespace: str, name: str, package: str | None) -> FullyQualifiedName:
    return FullyQualifiedName(
        own if namespace == DEFAULT_NAMESPACE else namespace_name(namespace),
        None if package is None else entity_name(package),
        entity_name(name),
    )


def request_id_of(headers: Iterable[tuple[bytes, bytes]], new_id: Callable[[], str]) -> str:
    """The id of a request: the caller's, if it is one, else a new one."""
    given = next((value.decode("latin-1") for key, value in headers if key == b"x-request-id"), "")
    return given if given and _ACCEPTABLE_ID.fullmatch(given) else new_id()


def problem(
    message: str, status: int, request_id: str, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """An error as OpenWhisk's clients read it."""
    return HttpResponse.of({"error": message, "code": request_id}, status, tuple((headers or {}).items()))


def failure(error: EdgeWhiskError, request_id: str) -> HttpResponse:
    """What a deliberate error means to a caller."""
    headers = dict(error.headers)
    if isinstance(error, Unauthorized) and error.challenge:
        headers["WWW-Authenticate"] = _CHALLENGE
    if isinstance(error, Throttled):
        headers["Retry-After"] = "60"
    text = error.told
    if isinstance(error, StorageError) and error.hint:
        text = f"{text}; {error.hint}"
    return problem(text, error.status, request_id, headers)
