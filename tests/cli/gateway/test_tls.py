"""A gateway with TLS is as easy to use on its own machine as one without."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgewhisk.cli import main
from edgewhisk.cli.gateway.tls import ipv4_of, ipv6_of, own_names
from tests.path.gateway import Gateway

NOWHERE = "http://127.0.0.1:9"
PROXIES = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"), NOWHERE)
FIB = """Local:
  +-- 0.0.0.0/0 3 0 5
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.1
              /32 host LOCAL
           |-- 192.168.1.0
              /24 link UNICAST
           |-- 192.168.1.20
              /32 host LOCAL
        |-- 192.168.1.255
           /32 link BROADCAST
"""
IF_INET6 = """00000000000000000000000000000001 01 80 10 80       lo
fd000000000000000000000000000002 04 40 00 82     eth0
fe8000000000000000fc00fffe000001 04 40 20 80     eth0
"""


def edgewhisk(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("EDGEWHISK", "WSK"))}
    return subprocess.run(
        [sys.executable, "-m", "edgewhisk", *words], capture_output=True, text=True, check=False,
        env={**kept, "HOME": str(home), **PROXIES},
    )  # fmt: skip


def expired_pair(folder: Path) -> None:
    """A certificate for another name, which has expired."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plant.example.com")])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    folder.mkdir()
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.fixture(scope="module", params=["self-signed", "expired, of another name"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("tls")
    if request.param == "self-signed":
        assert main(["tls", "self-signed", "--out", str(folder / "tls")]) == 0
    else:
        expired_pair(folder / "tls")
    tls = f'tls_cert = "{folder}/tls/cert.pem"\ntls_key = "{folder}/tls/key.pem"\n'
    running = Gateway(folder, '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n')
    running.config.write_text(running.config.read_text().replace("[api]\n", f"[api]\n{tls}"))
    running.start()
    try:
        yield running
    finally:
        running.stop()


def test_every_verb_works_with_tls_and_with_a_proxy(made: Gateway, tmp_path: Path) -> None:
    config = ("--config", str(made.config))
    assert json.loads(edgewhisk(tmp_path, "status", "--json", *config).stdout)["url"].startswith("https://")
    props = edgewhisk(tmp_path, "wskprops", *config).stdout
    assert f"CACERT={made.folder}/tls/cert.pem\n" in props
    (tmp_path / ".wskprops").write_text(props)
    (tmp_path / "manifest.yaml").write_text("packages: {default: {triggers: {bell: {}}}}\n")
    for words in (
        "namespace list", "list", "action list", "trigger list", "activation list", "queue show",
        "activation poll --exit 0.1", f"deploy -m {tmp_path}/manifest.yaml", "trigger fire bell",
    ):  # fmt: skip
        done = edgewhisk(tmp_path, *words.split())
        told = done.stderr.replace("polling for activations; Ctrl-C ends it\n", "")
        assert (words, done.returncode, told) == (words, 0, "")


def test_what_is_trusted_is_said(made: Gateway, tmp_path: Path) -> None:
    host = ("--apihost", f"https://127.0.0.1:{made.port}", "--auth", made.auth)
    cert = str(made.folder / "tls" / "cert.pem")
    refused = edgewhisk(tmp_path, "action", "list", *host)
    assert (refused.returncode, "--cacert" in refused.stderr) == (3, True)
    for how in (("--cacert", cert), ("--insecure",)):
        assert edgewhisk(tmp_path, "action", "list", *host, *how).returncode == 0
        assert edgewhisk(tmp_path, "status", *host, *how, "--config", str(made.config)).returncode == 0
    other = tmp_path / "other"
    expired_pair(other)
    wrong = edgewhisk(tmp_path, "action", "list", *host, "--cacert", str(other / "cert.pem"))
    assert (wrong.returncode, "CERTIFICATE_VERIFY_FAILED" in wrong.stderr) == (3, True)
    for file, problem in (("key.pem", "cannot be used"), ("none.pem", "No such file")):
        no = edgewhisk(tmp_path, "action", "list", *host, "--cacert", str(other / file))
        assert (no.returncode, problem in no.stderr) == (1, True), no.stderr
    clear = edgewhisk(
        tmp_path, "action", "list", "--auth", "a:b", "--apihost", f"http://127.0.0.1:{made.port}"
    )
    assert "if it speaks TLS: --apihost https://" in clear.stderr


def test_a_certificate_has_every_name_of_the_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "tls",
        "self-signed",
        "--out",
        str(tmp_path),
        "--host",
        "gw.example.com",
        "--host",
        "bücher.example",
    ]
    assert main([*words, "--json"]) == 0
    hosts = json.loads(capsys.readouterr().out)["hosts"]
    assert {"gw.example.com", "localhost", "127.0.0.1", "::1", *own_names()} <= set(hosts)
    made = x509.load_pem_x509_certificate((tmp_path / "cert.pem").read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"gw.example.com", "xn--bcher-kva.example", "localhost"} <= set(
        names.get_values_for_type(x509.DNSName)
    )
    assert "127.0.0.1" in map(str, names.get_values_for_type(x509.IPAddress))
    assert main(["tls", "self-signed", "--out", str(tmp_path / "b"), "--host", "http://gw"]) == 1
    assert "'http://gw' is no name and no address" in capsys.readouterr().err


def test_the_addresses_are_those_of_the_interfaces() -> None:
    assert ipv4_of(FIB) == ["192.168.1.20"]
    assert ipv6_of(IF_INET6) == ["fd00::2"]
