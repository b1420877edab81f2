"""Which OpenWhisk the command line talks to, and how it knows that it is the right one."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgewhisk.errors import BadRequest, EdgeWhiskError

if TYPE_CHECKING:
    import ssl
    from http.client import HTTPConnection

CA: Final = "CACERT"  # in .wskprops, ours: `wsk` keeps it and does not use it


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Which OpenWhisk to talk to."""

    url: str  # http(s)://host[:port]
    auth: str  # uuid:key
    insecure: bool = False
    ca: Path | None = None  # PEM file with the server's own certificate, or with authorities to trust
    identity: tuple[Path, Path | None] | None = None  # PEM files with the client's certificate and its key

    def __repr__(self) -> str:
        """Without the key."""
        return f"Endpoint({self.url})"

    def connection(self, patience: float) -> HTTPConnection:
        """Connects; asks no proxy, gives up after `patience` seconds. Raises `OSError` or `BadRequest`."""
        from http.client import HTTPConnection, HTTPSConnection
        from urllib.parse import urlsplit

        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise BadRequest(
                f"{self.url!r} is no URL: {error}", hint="for example 192.168.1.5:3233"
            ) from None
        if parts.scheme not in ("http", "https") or not host:
            raise BadRequest(f"{self.url!r} is not http(s)://HOST[:PORT]", hint="--apihost names a host")
        if parts.scheme == "http":
            plain = HTTPConnection(host, port, timeout=patience)
            plain.connect()
            return plain
        for context, is_known in self._ways():
            self._show_identity(context)
            made = HTTPSConnection(host, port, timeout=patience, context=context)
            made.connect()
            if is_known is None or made.sock.getpeercert(binary_form=True) in is_known:
                break
            made.close()
        return made

    def _ways(self) -> list[tuple[ssl.SSLContext, set[bytes] | None]]:
        """What to trust, one after the other: these very certificates, then the system's authorities.

        A gateway's own certificate need not have the name by which it is called, and a gateway without a
        clock battery may think that it has expired: it is the right one because it is the one in the file.
        """
        import ssl

        blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        if self.insecure:
            return [(blind, None)]
        careful = ssl.create_default_context()
        if self.ca is None:
            return [(careful, None)]
        try:
            known = _certificates(self.ca.read_text(encoding="ascii"))
            careful.load_verify_locations(self.ca)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            reason = getattr(error, "strerror", None) or "it is no PEM certificate"
            raise BadRequest(
                f"the certificate {self.ca} cannot be used: {reason}", hint="--cacert names another"
            ) from error
        return [(blind, known), (careful, None)]

    def _show_identity(self, context: ssl.SSLContext) -> None:
        """Give the client's certificate to whoever asks for it."""
        if self.identity is not None:
            try:
                context.load_cert_chain(*self.identity)
            except OSError as error:
                reason = error.strerror or "they are no certificate with its key"
                raise BadRequest(f"--cert and --key cannot be used: {reason}") from error


def _certificates(text: str) -> set[bytes]:
    """The first certificate of a PEM file, as a server shows it: those below it are authorities."""
    import ssl

    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    _, found, rest = text.partition(begin)
    inner, closed, _ = rest.partition(end)
    return {ssl.PEM_cert_to_DER_cert(f"{found}{inner}{closed}")} if found else set()


def options(parser: argparse.ArgumentParser) -> None:
    """The options that all verbs with a client have, named as `wsk` names them."""
    group = parser.add_argument_group("which OpenWhisk")
    group.add_argument(
        "--apihost", metavar="HOST", help="URL or host (default: .wskprops, else this gateway)"
    )
    group.add_argument("-u", "--auth", metavar="KEY", help="uuid:key")
    group.add_argument("-i", "--insecure", action="store_true", help="do not check the TLS certificate")
    group.add_argument("--cacert", type=Path, metavar="FILE", help="trust this certificate, too")
    group.add_argument("--cert", type=Path, metavar="FILE", help="certificate to show to the server")
    group.add_argument("--key", type=Path, metavar="FILE", help="key of --cert")
    group.add_argument("--apiversion", choices=("v1",), default="v1", help=argparse.SUPPRESS)
    group.add_argument("-v", "--verbose", action="store_true", help="show requests on stderr")
    group.add_argument("--debug", action="store_true", dest="verbose", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print JSON only, for scripts")


def target(given: argparse.Namespace, environment: Mapping[str, str]) -> Endpoint:
    """What the options say, else `.wskprops`, else the gateway on this machine."""
    from edgewhisk.config.loader import load

    found = properties(environment) if given.config is None else {}
    host, auth = given.apihost or found.get("APIHOST"), given.auth or found.get("AUTH")
    if not (host and auth):
        return this_gateway(given, environment, host, auth)
    ca = given.cacert or (Path(found[CA]) if CA in found else None)
    if ca is None and not given.insecure and not host.startswith("http://"):
        with contextlib.suppress(EdgeWhiskError):  # of a configuration that may have nothing to do with it
            cert = load(given.config, environment).api.tls_cert
            ca = cert if cert and os.access(cert, os.R_OK) else None
    cert = given.cert or (Path(found["CERT"]) if found.get("CERT") else None)
    key = given.key or (Path(found["KEY"]) if found.get("KEY") else None)
    return Endpoint(_url(host), auth, given.insecure, ca, (cert, key) if cert else None)


def this_gateway(
    given: argparse.Namespace,
    environment: Mapping[str, str],
    host: str | None = None,
    auth: str | None = None,
) -> Endpoint:
    """The gateway on this machine, but for what is given."""
    from edgewhisk.cli.gateway.auth import guest_key
    from edgewhisk.cli.gateway.wskprops import api_url
    from edgewhisk.config.loader import load

    config = load(given.config, environment)
    url = _url(host) if host else api_url(config)
    identity = (given.cert, given.key) if given.cert else None
    ca = given.cacert or config.api.tls_cert
    return Endpoint(url, auth or guest_key(config), given.insecure, ca, identity)


def _url(host: str) -> str:
    """The URL of a host; TLS where it does not say, as `wsk` has it."""
    return (host if "://" in host else f"https://{host}").rstrip("/")


def properties_file(environment: Mapping[str, str]) -> Path:
    """Where `.wskprops` is."""
    return Path(environment.get("WSK_CONFIG_FILE") or Path(environment.get("HOME", "/")) / ".wskprops")


def properties(environment: Mapping[str, str]) -> dict[str, str]:
    """What `.wskprops` says."""
    try:
        lines = properties_file(environment).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs}
