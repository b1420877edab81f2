"""The cloud over HTTP, in the dialect of its kind: the only door to httpx.

It may be broken, or not the cloud at all: whatever it answers is bounded in size and time, and ends in a
number or in a `CloudError` that says what was wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.errors import CloudError, StorageError
from edgewhisk.spi import SyncBatch
from edgewhisk.sync import batch as batches
from edgewhisk.sync.credential import Credential
from edgewhisk.sync.dialects import Dialect
from edgewhisk.transport.http_body import BadBody, Body
from edgewhisk.transport.tls_errors import reason

_CONNECT: Final = 10.0  # seconds
ANSWER: Final = 10.0  # seconds behind the time after which a blocking call is answered anyhow
_SLOWEST: Final = 1000  # bytes a second that a batch is sent with at least
POLLS: Final = 20  # times, one second apart, that a late result is asked for
_LARGEST: Final = 64 << 10  # bytes of an answer: the ingest action's has about 100
_SHOWN: Final = 200  # characters of an answer that are told
LONGEST: Final = 3600.0  # seconds that the cloud may have us wait
_UNFIT: Final = (500, 502)  # an action that raises, or ends with an error, answers 502
_PASSING: Final = (408, 425)
_WORTH: Final = 1 << 10  # bytes of a body that are worth compressing
_REFUSED: Final = (401, 403)
_UNFIT_HINT: Final = "the ingest action does not take these records; see its log"


class CloudRefusal(CloudError):
    """The cloud will not take this until a person changes something."""

    retryable = False


class Unfit(CloudRefusal):
    """The cloud will not take this batch for what is in it, as far as one can tell."""


class TooMuch(Unfit):
    """The batch is larger than the cloud takes."""


class Busy(CloudError):
    """The cloud cannot take this now, and may have said for how long."""

    def __init__(self, message: str, after: float | None = None) -> None:
        """`after`: seconds; without, nothing before the next calendar minute."""
        super().__init__(message)
        self.after = after


class CloudAnswer(NamedTuple):
    """What the cloud answered."""

    status: int
    headers: Any
    body: bytes

    @property
    def value(self) -> Any:
        """The body as JSON; None if it is none."""
        try:
            return jsontext.parse(self.body).value
        except jsontext.NotJson:
            return None

    @property
    def text(self) -> str:
        """What a person is shown of it."""
        value = self.value
        found = value.get("error", "") if isinstance(value, dict) else self.body.decode(errors="replace")
        return " ".join(str(found)[:_SHOWN].split())


@dataclass(frozen=True, slots=True)
class CloudRoute:
    """How the cloud is reached."""

    ca_file: Path | None = None  # certificates that are trusted besides the system's
    client_cert: Path | None = None  # certificate and key of this gateway, PEM
    proxy: str = ""  # URL of an HTTP or SOCKS5 proxy; empty: none


class CloudClient:
    """`spi.Cloud`: what takes batches, at whatever kind of cloud."""

    def __init__(
        self,
        dialect: Dialect,
        url: str,
        credentials: Callable[[], Sequence[Credential]],
        *,
        namespace: str = "",
        ingest: str = "/whisk.system/edge/ingest",
        route: CloudRoute | None = None,
    ) -> None:
        """`ingest`: "/whisk.system/edge/ingest", or "edge/ingest" in `namespace`, where the kind has actions.

        `credentials` reads them, and raises `StorageError`: it is asked again after it failed, or all were
        refused.
        """
        self._dialect = dialect
        self._endpoints = dialect.endpoints(url, namespace or dialect.namespace, ingest)
        self._action = self._endpoints.ingest
        self._patience = dialect.blocking_seconds + ANSWER  # seconds
        self._read = credentials
        self._credentials: Sequence[Credential] = ()
        self._works = 0  # which of them the cloud took last
        self._route = route or CloudRoute()
        self._client: Any = None

    @property
    def credential(self) -> Credential | None:
        """The one that is in use, once it was read."""
        return self._credentials[self._works] if self._credentials else None

    async def send(self, device: str, epoch: str, batch: SyncBatch) -> int:
        """See `spi.Cloud`."""
        content = await self._encoded(batches.body(device, epoch, batch))
        with self._told():
            if self._client is None:
                self._client = await self._open()
            said = await self._offer(content)
            if said.status == 202 and self._endpoints.activations:
                return await self._late(said)
            return self._have(said)

    async def look(self) -> CloudAnswer:
        """Whatever the cloud says of itself, without a key. Raises `CloudError`."""
        with self._told():
            if self._client is None:
                self._client = await self._open()
            return await self._ask("GET", self._endpoints.info or self._action, _CONNECT)

    async def _encoded(self, body: bytes) -> bytes:
        if not self._dialect.compressed or len(body) < _WORTH:
            return body
        return await asyncio.to_thread(gzip.compress, body, 6, mtime=0)  # the same bytes each time

    async def _offer(self, content: bytes) -> CloudAnswer:
        """Post a body, with the credential that worked last; then with the others, if that is refused."""
        count = len(self._credentials)
        for number in range(self._works, self._works + count):
            self._works = number % count
            said = await self._ask(
                "POST",
                self._action,
                self._patience + len(content) / _SLOWEST,
                params=self._endpoints.query,
                content=content,
                headers={
                    "Content-Type": "application/json",
                    **({"Content-Encoding": "gzip"} if content[:2] == b"\x1f\x8b" else {}),
                    **self._credentials[self._works].headers(content),
                },
            )
            if said.status not in _REFUSED:
                return said
        await self.close()  # there may be others in the file next time
        return said

    async def _open(self) -> Any:
        """What connects to the cloud; raises `CloudRefusal` without a key or certificate to read."""
        from http.cookiejar import CookieJar, DefaultCookiePolicy

        import httpx  # heavy: a gateway without a cloud never loads it

        try:
            self._credentials = await asyncio.to_thread(self._read)
        except StorageError as error:
            hint = error.hint or f"it must hold {self._dialect.key}; it is read again every minute"
            raise CloudRefusal(f"[cloud] auth_file: {error}", hint=hint) from error
        self._works = min(self._works, len(self._credentials) - 1)
        return httpx.AsyncClient(
            timeout=httpx.Timeout(self._patience, connect=_CONNECT),
            verify=await asyncio.to_thread(self._trust),
            proxy=self._route.proxy or None,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # none, however many it sets
            headers={"Accept-Encoding": "identity"},
        )

    def _trust(self) -> Any:
        """Whose certificates are good, and what this gateway shows of its own."""
        import httpx

        context = httpx.create_ssl_context(trust_env=False)
        for name, file in (("ca_file", self._route.ca_file), ("client_cert", self._route.client_cert)):
            if file is None:
                continue
            try:
                if name == "ca_file":
                    context.load_verify_locations(file)
                else:
                    context.load_cert_chain(file)
            except OSError as error:  # ssl.SSLError is one
                raise CloudRefusal(
                    f"[cloud] {name}: {file} cannot be used: {error}", hint="it must be a PEM file"
                ) from error
        return context

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    @contextlib.contextmanager
    def _told(self) -> Any:
        """Whatever goes wrong with a connection is a `CloudError`."""
        import httpx

        try:
            yield
        except TimeoutError as error:
            raise CloudError(f"{self._action}: the answer did not come in time") from error
        except BadBody as error:
            raise CloudError(f"{self._action}: {error}") from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError) as error:
            raise CloudError(f"{self._action}: {reason(error)}") from error

    async def _ask(self, method: str, url: str, patience: float, **given: Any) -> CloudAnswer:
        """One request, within bounds; raises `TimeoutError` after `patience` seconds, and `BadBody`."""
        async with asyncio.timeout(patience), self._client.stream(method, url, **given) as answer:
            body = Body(answer.headers.get("Content-Encoding", ""), _LARGEST)
            pieces: AsyncIterator[bytes] = answer.aiter_raw()
            async for piece in pieces:
                body.add(piece)
            return CloudAnswer(answer.status_code, answer.headers, body.data)

    async def _late(self, said: CloudAnswer) -> int:
        """Ask for a result that took longer than the cloud waits."""
        known = said.value
        found = known.get("activationId") if isinstance(known, dict) else None
        if not isinstance(found, str) or not (found.isascii() and found.isalnum()):
            raise CloudError(f"{self._action} answered 202 without an activation id")
        for _ in range(POLLS if self._dialect.late_results else 0):
            await asyncio.sleep(1)
            url = f"{self._endpoints.activations}/{found[:64]}/result"
            late = await self._ask("GET", url, _CONNECT, headers=self._credentials[self._works].headers(b""))
            if late.status == 200:
                result = late.value
                return _taken(result.get("result") if isinstance(result, dict) else None, self._action)
        raise CloudError(f"{self._action} did not finish in time")

    def _have(self, said: CloudAnswer) -> int:
        status = said.status
        if status == 200:
            if (value := said.value) is None:
                raise CloudError(f"{self._action} answered 200 with what is no JSON: {said.text!r}")
            return _taken(value, self._action)
        text = f"{self._action} answered {status}: {said.text}"
        if status == 413:
            raise TooMuch(text)
        if status == 429 or (status == 503 and "Retry-After" in said.headers):
            raise Busy(text, retry_after(said.headers))
        raise self._refusal(said, text)

    def _refusal(self, said: CloudAnswer, text: str) -> CloudError:
        """What an answer means that is neither a number nor a request to wait."""
        status = said.status
        if status in _REFUSED:
            return CloudRefusal(text, hint="check [cloud] auth_file and namespace")
        if 300 <= status < 400:
            where = said.headers.get("Location", "elsewhere")[:_SHOWN]
            return CloudRefusal(
                f"{text}moved to {where}", hint="name that in [cloud] url, if it is the cloud"
            )
        if status == 404:
            name = self._endpoints.name
            hint = f"the cloud has no action {name}: deploy one and name it in [cloud] ingest"
            if not self._endpoints.info:
                hint = "nothing takes batches at [cloud] url"
            return CloudRefusal(text, hint=hint)
        if status == 204:
            return CloudRefusal(f"{text}nothing", hint="[cloud] ingest must name an action that answers")
        if status in _UNFIT or (400 <= status < 500 and status not in _PASSING):
            return Unfit(text, hint=_UNFIT_HINT)
        if status < 400:
            return CloudRefusal(text, hint="[cloud] url or ingest leads to what is no ingest action")
        return CloudError(text)


def _taken(value: Any, action: str) -> int:
    """The number in a result; raises `Unfit` if the action ended with an error, else `CloudError`."""
    if isinstance(value, dict) and "error" in value and "have" not in value:
        raise Unfit(f"{action} ended with an error: {str(value['error'])[:_SHOWN]}", hint=_UNFIT_HINT)
    return batches.have(value)


def retry_after(headers: Any) -> float | None:
    """Seconds that `Retry-After` asks for, up to an hour; None if it says nothing that can be read.

    A date counts from the cloud's own `Date`: the clock of this gateway may be wrong.
    """
    told = headers.get("Retry-After", "").strip()[:64]
    if told.isascii() and told.isdigit():
        return min(float(told), LONGEST)
    try:
        until, now = parsedate_to_datetime(told), parsedate_to_datetime(headers.get("Date", ""))
        return min(max(0.0, (until - now).total_seconds()), LONGEST)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
