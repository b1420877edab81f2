"""One gateway for the tests of the API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.path.gateway import Gateway, gateway


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("api"), '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n') as running:
        yield running


@pytest.fixture
def sequence(made: Gateway) -> Callable[..., dict[str, Any]]:
    """Make a sequence of actions of the namespace; its document."""

    def make(name: str, *parts: str) -> dict[str, Any]:
        components = [f"/_/{part}" for part in parts]
        body = {"exec": {"kind": "sequence", "components": components}}
        found: dict[str, Any] = made.ok("PUT", f"_/actions/{name}?overwrite=true", body)
        return found

    return make
