"""The few calls of OpenWhisk's REST API that the demo makes, as any client would."""

from __future__ import annotations

from typing import Any, Final

import httpx

from edgewhisk import jsontext
from edgewhisk.demo.gateway import GatewayProcess
from edgewhisk.errors import EdgeWhiskError

_PAGE: Final = 200


class DemoClient:
    """A caller with the key of a gateway's subject guest."""

    def __init__(self, gateway: GatewayProcess) -> None:
        """Talk to `gateway`."""
        self._auth = gateway.key
        self._http = httpx.AsyncClient(
            base_url=gateway.url, auth=(self._auth.uuid, self._auth.key), timeout=30, trust_env=False
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def put(self, path: str, body: dict[str, Any]) -> None:
        """Create an entity: "actions/demo/check"."""
        self._check(await self._http.put(f"/api/v1/namespaces/_/{path}", json=body))

    async def feed(self, trigger: str, feed: str, parameters: dict[str, Any]) -> None:
        """Create a trigger that is fed: a trigger with an annotation, then the feed action."""
        annotation = {"key": "feed", "value": f"/whisk.system/{feed}"}
        await self.put(f"triggers/{trigger}", {"annotations": [annotation]})
        asked = {"lifecycleEvent": "CREATE", "triggerName": f"/_/{trigger}", "authKey": self._auth.compact}
        path = f"/api/v1/namespaces/whisk.system/actions/{feed}?blocking=true"
        self._check(await self._http.post(path, json={**asked, **parameters}))

    async def count(self, name: str) -> int:
        """How many activations of an action there are."""
        answer = await self._http.get(f"/api/v1/namespaces/_/activations?count=true&name={name}")
        found: int = self._check(answer)["activations"]
        return found

    async def activations(self, name: str, skip: int) -> list[dict[str, Any]]:
        """One page of records, newest first."""
        path = f"/api/v1/namespaces/_/activations?docs=true&limit={_PAGE}&skip={skip}&name={name}"
        found: list[dict[str, Any]] = self._check(await self._http.get(path))
        return found

    async def every_activation(self, name: str) -> list[dict[str, Any]]:
        """All records; call when no more are made."""
        found: list[dict[str, Any]] = []
        while page := await self.activations(name, len(found)):
            found += page
        return found

    async def status(self) -> dict[str, Any]:
        """The gateway's own account."""
        found: dict[str, Any] = self._check(await self._http.get("/edgewhisk/status"))
        return found

    def _check(self, answer: httpx.Response) -> Any:
        if answer.is_success:
            return jsontext.loads(answer.content)
        raise EdgeWhiskError(
            f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}"
        )
