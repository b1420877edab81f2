"""Print a .wskprops file for this gateway, for `edgewhisk`, `wsk` and other clients.

`edgewhisk` trusts the certificate that it names; `wsk` has no such setting and needs `-i`, or
SSL_CERT_FILE with the path in its environment.

edgewhisk wskprops > ~/.wskprops
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Mapping

from edgewhisk.cli.endpoint import CA
from edgewhisk.cli.gateway.auth import guest_key
from edgewhisk.config.loader import load
from edgewhisk.config.schema import Config


def options(_parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Print the file."""
    config = load(given.config, environment)
    print(f"APIHOST={api_url(config)}\nAUTH={guest_key(config)}\nNAMESPACE=_")
    if config.api.tls_cert:
        print(f"{CA}={config.api.tls_cert.resolve()}")
    return 0


def api_url(config: Config) -> str:
    """Where this machine reaches the gateway: where it says it is, else where it should be."""
    with contextlib.suppress(OSError):  # it never ran, or is not ours to look at
        if said := (config.state_dir / "url").read_text(encoding="ascii").strip():
            return said
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(config.api.host, config.api.host)  # noqa: S104
    return f"{'https' if config.api.tls_cert else 'http'}://{host}:{config.api.port}"
