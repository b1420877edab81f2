"""The cloud OpenWhisk controller over HTTP: the only door to httpx."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from edgewhisk import jsontext
from edgewhisk.entity.identity import AuthKey
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import CloudError
from edgewhisk.spi import Batch
from edgewhisk.sync import batch as batches
from edgewhisk.trust import reason

_CONNECT: Final = 10.0  # seconds
_ANSWER: Final = 70.0  # seconds: a blocking invoke answers after at most 60
_POLLS: Final = 20  # times, one second apart, that a late result is asked for


class CloudRefusal(CloudError):
    """The cloud will not take this until a person changes something."""

    retryable = False


class TooMuch(CloudError):
    """The batch is larger than the cloud takes."""


class Busy(CloudError):
    """The cloud's rate limit is reached: nothing before the next calendar minute."""


class OpenWhiskCloud:
    """`spi.Cloud`: an ingest action of an OpenWhisk controller, or of another EdgeWhisk."""

    def __init__(self, url: str, namespace: str, auth: AuthKey, ingest: str) -> None:
        """`ingest`: "/whisk.system/edge/ingest", or "edge/ingest" in `namespace`."""
        name = parse_name(ingest if ingest.startswith("/") else f"/{namespace}/{ingest}", namespace)
        self._base = f"{url.rstrip('/')}/api/v1/namespaces"
        self._action = f"{self._base}/{name.namespace}/actions/{name.local}"
        self._activations = f"{self._base}/{namespace}/activations"
        self._name = str(name)
        self._auth = (auth.uuid, auth.key)
        self._client: Any = None

    async def send(self, device: str, epoch: str, batch: Batch) -> int:
        """See `spi.Cloud`."""
        import httpx  # heavy: a gateway without a cloud never loads it

        if self._client is None:
            timeout = httpx.Timeout(_ANSWER, connect=_CONNECT)
            self._client = httpx.AsyncClient(auth=self._auth, timeout=timeout, trust_env=False)
        content = batches.body(device, epoch, batch)
        try:
            response = await self._client.post(
                self._action,
                params={"blocking": "true", "result": "true"},
                content=content,
                headers={"Content-Type": "application/json"},
            )
            if response.status_code == 202:
                return await self._late(response)
        except httpx.TransportError as error:
            raise CloudError(f"{self._action}: {reason(error)}") from error
        return self._have(response)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _late(self, response: Any) -> int:
        """Ask for a result that took longer than the cloud waits."""
        known = _json(response)
        found = known.get("activationId") if isinstance(known, dict) else None
        if not isinstance(found, str) or not found.isalnum():
            raise CloudError(f"{self._action} answered 202 without an activation id")
        for _ in range(_POLLS):
            await asyncio.sleep(1)
            late = await self._client.get(f"{self._activations}/{found}/result")
            if late.status_code == 200:
                result = _json(late)
                return batches.have(result.get("result") if isinstance(result, dict) else None)
        raise CloudError(f"{self._action} did not finish in time")

    def _have(self, response: Any) -> int:
        status, answer = response.status_code, _json(response)
        if status == 200:
            return batches.have(answer)
        said = answer.get("error", "") if isinstance(answer, dict) else response.text[:200]
        text = f"{self._action} answered {status}: {said}"
        if status == 413:
            raise TooMuch(text)
        if status == 429:
            raise Busy(text)
        if status in (401, 403):
            raise CloudRefusal(text, hint="check [cloud] auth_file and namespace")
        if status == 404:
            hint = f"the cloud has no action {self._name}: deploy one and name it in [cloud] ingest"
            raise CloudRefusal(text, hint=hint)
        if status < 500 or status == 502:
            raise CloudRefusal(text, hint="the ingest action does not take these records; see its log")
        raise CloudError(text)


def _json(response: Any) -> Any:
    try:
        return jsontext.parse(response.content).value
    except jsontext.NotJson:
        return None
