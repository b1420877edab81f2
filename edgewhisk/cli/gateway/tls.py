"""A certificate for the API.

`self-signed` makes a key and a certificate for this machine's names and addresses and those of `--host`,
and says what to put into the configuration. A running gateway takes a new certificate from the same files
by itself.

edgewhisk tls self-signed
edgewhisk tls self-signed --host gateway.local --host 192.168.1.20 --days 825
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import os
import re
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgewhisk.cli.output import document, done
from edgewhisk.cli.parser import add_verb
from edgewhisk.clock.offset import KNOWN
from edgewhisk.config.loader import load
from edgewhisk.errors import BadRequest, StorageError

if TYPE_CHECKING:
    from cryptography.x509 import GeneralName

_IPV4: Final = "/proc/net/fib_trie"
_IPV6: Final = "/proc/net/if_inet6"


def options(parser: argparse.ArgumentParser) -> None:
    """The verb `self-signed`."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    own = add_verb(verbs, parser, "self-signed", "make a certificate")
    own.add_argument("--config", type=Path, metavar="FILE", help="configuration of the gateway")
    own.add_argument(
        "--host", action="append", default=[], help="another name or address, besides this machine's own"
    )
    own.add_argument("--days", type=int, default=3650, help="how long it is valid (default ten years)")
    own.add_argument("--out", type=Path, metavar="DIR", help="where to (default: tls in the state directory)")
    own.add_argument("--force", action="store_true", help="replace what is there")
    own.add_argument("--json", action="store_true", help="print JSON only, for scripts")


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Make the pair."""
    folder = given.out or load(given.config, environment).state_dir / "tls"
    cert, key = folder / "cert.pem", folder / "key.pem"
    if cert.exists() and not given.force:
        raise BadRequest(f"{cert} is there already", hint="--force replaces it")
    if given.days < 1:
        raise BadRequest("--days must be at least 1")
    if time.time() * 1000 < KNOWN:
        problem = f"the clock says {datetime.now(UTC):%Y-%m-%d}: a certificate made now would have expired"
        raise BadRequest(problem, hint="set the clock first, with NTP or with date -s")
    hosts = list(dict.fromkeys([*given.host, *own_names()]))
    key_text, cert_text = _pair(hosts, given.days)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(key, key_text, 0o600)
        _write(cert, cert_text, 0o644)
    except OSError as error:
        raise StorageError(
            f"{error.filename}: {error.strerror}", hint="--out names another folder"
        ) from error
    if given.json:
        document({"tls_cert": str(cert), "tls_key": str(key), "hosts": hosts})
        return 0
    done(f"made a certificate for {', '.join(hosts)}, valid {given.days} days; now in the configuration:")
    print(f'[api]\nhost = "0.0.0.0"\ntls_cert = "{cert.resolve()}"\ntls_key = "{key.resolve()}"')
    return 0


def _pair(hosts: list[str], days: int) -> tuple[bytes, bytes]:
    """Key and certificate, PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    names = [_general_name(host) for host in hosts]
    # A gateway without a clock battery may believe it is 1970: valid from then, so that it can start.
    begin = datetime(1970, 1, 2, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(datetime.now(UTC) + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, certificate.public_bytes(pem)


def own_names() -> list[str]:
    """The names and addresses by which this machine can be called, without those that need a zone."""
    name = socket.gethostname()
    names = ["localhost", name, f"{name.partition('.')[0]}.local", socket.getfqdn()]
    found = ["127.0.0.1", "::1"]
    for path, addresses in ((_IPV4, ipv4_of), (_IPV6, ipv6_of)):
        with contextlib.suppress(OSError):  # of a kernel without that protocol
            found += addresses(Path(path).read_text(encoding="ascii"))
    return list(dict.fromkeys([*(one for one in names if one), *found]))


def ipv4_of(text: str) -> list[str]:
    """The machine's own addresses in `/proc/net/fib_trie`, where each has a line and its kind one below."""
    found = re.findall(r"\|-- ([0-9.]+)\n +/32 host LOCAL", text)
    return [one for one in dict.fromkeys(found) if not ipaddress.ip_address(one).is_loopback]


def ipv6_of(text: str) -> list[str]:
    """The machine's own addresses in `/proc/net/if_inet6`, one a line, 32 hexadecimal digits."""
    found = [ipaddress.IPv6Address(bytes.fromhex(line.split()[0])) for line in text.splitlines() if line]
    return [str(one) for one in found if not one.is_loopback and not one.is_link_local]


def _general_name(host: str) -> GeneralName:
    """An address or a name as a certificate has it; raises `BadRequest` for what is neither."""
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        ascii_name = host.encode("idna").decode()
    except UnicodeError:
        ascii_name = ""
    if not re.fullmatch(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", ascii_name):
        raise BadRequest(f"{host!r} is no name and no address of a machine", hint="--host gateway.local")
    return x509.DNSName(ascii_name)


def _write(path: Path, text: bytes, mode: int) -> None:
    """Whole or not at all, and never readable by more than `mode` says."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        if os.geteuid() == 0:
            owner = path.parent.parent.stat() if path.parent.name == "tls" else path.parent.stat()
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
