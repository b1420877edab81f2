"""One gateway for the tests of the API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.path.gateway import Gateway, gateway


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("api"), '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n') as found:
        yield found


@pytest.fixture(scope="module")
def made(running: Gateway) -> Gateway:
    """Each module begins with an empty namespace, whatever ran before it in this process."""
    for kind in ("rules", "triggers", "actions", "packages"):
        while found := running.ok("GET", f"_/{kind}?limit=200"):
            for one in found:
                name = "/".join([*one["namespace"].split("/")[1:], one["name"]])
                running.ok("DELETE", f"_/{kind}/{quote(name)}?force=true")
    return running


@pytest.fixture
def sequence(made: Gateway) -> Callable[..., dict[str, Any]]:
    """Make a sequence of actions of the namespace; its document."""

    def make(name: str, *parts: str) -> dict[str, Any]:
        components = [f"/_/{part}" for part in parts]
        body = {"exec": {"kind": "sequence", "components": components}}
        found: dict[str, Any] = made.ok("PUT", f"_/actions/{name}?overwrite=true", body)
        return found

    return make
