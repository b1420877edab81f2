"""What a start would meet: files, ports, profiles and variables that a configuration only names."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from edgewhisk.config.loader import ENVIRONMENT_PREFIX, NAMED, SECTIONS
from edgewhisk.config.schema import EMBEDDED, CloudConfig, Config, MqttConfig
from edgewhisk.config.validate import broker_at
from edgewhisk.errors import EdgeWhiskError, Fault, shown

_OWN: Final = {"EDGEWHISK_CONFIG", "EDGEWHISK_STATE_DIR", "EDGEWHISK_LOG_LEVEL"}
_PRIVILEGED: Final = 1024  # ports below are not for everybody


def obstacles(config: Config, environment: Mapping[str, str], profiles: list[str]) -> Iterator[Fault]:
    """Everything that does not work until a person changes it."""
    where = str(config.source or "defaults")
    yield from _state(config)
    yield from _files(config, where)
    yield from _addresses(config, where)
    yield from _logins(config, where)
    yield from _profiles(config, where, profiles)
    yield from _grants(config, where)
    yield from unknown_variables(config, environment)


def waits(config: Config) -> Iterator[str]:
    """What is not there now, and may come while the gateway runs."""
    for name, section in config.serial.items():
        if section.port.startswith("/") and not Path(section.port).exists():
            yield f"serial.{name}.port: {section.port} is not there: it is waited for (edgewhisk device scan)"


def _state(config: Config) -> Iterator[Fault]:
    """The state directory, or the first folder above it that is there."""
    folder = config.state_dir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        yield Fault(str(config.state_dir), "state_dir", f"{folder} is no directory")
    elif not os.access(folder, os.W_OK | os.X_OK):
        problem = f"{folder} cannot be written by this user; check as the user that runs the gateway"
        yield Fault(str(config.state_dir), "state_dir", problem)


def _files(config: Config, where: str) -> Iterator[Fault]:
    """Files that must be there and readable, and what must be in some of them."""
    parts = {name: getattr(config, name) for name in SECTIONS}
    parts |= {f"{kind}.{name}": one for kind in NAMED for name, one in getattr(config, kind).items()}
    named = {
        f"{section}.{entry.name}": value
        for section, part in parts.items()
        for entry in fields(part)
        if isinstance(value := getattr(part, entry.name), Path)
    }
    bad = {key: problem for key, path in named.items() if (problem := _unreadable(path))}
    yield from (Fault(where, key, problem) for key, problem in bad.items())
    if not bad.keys() & {"api.tls_cert", "api.tls_key"}:
        yield from _pair(where, "api.tls_cert", config.api.tls_cert, config.api.tls_key)
    for section, broker in _brokers(config).items():
        if not bad.keys() & {f"{section}.cert_file", f"{section}.key_file"}:
            yield from _pair(where, f"{section}.cert_file", broker.cert_file, broker.key_file)
    if config.cloud.auth_file and "cloud.auth_file" not in bad:
        yield from _key(where, config.cloud, config.cloud.auth_file)


def _unreadable(path: Path) -> str:
    """Why a file cannot be read, or ""."""
    try:
        if path.is_dir() or not path.exists():
            return f"{path}: {'is a directory' if path.is_dir() else 'there is no such file'}"
    except OSError as error:
        return f"{path}: {error.strerror}"
    return "" if os.access(path, os.R_OK) else f"{path} cannot be read by this user"


def _pair(where: str, name: str, cert: Path | None, key: Path | None) -> Iterator[Fault]:
    """A certificate and its key that cannot be used."""
    if cert is None or key is None:
        return
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (OSError, ValueError) as error:
        yield Fault(where, name, f"{cert} and {key} are no certificate with its key: {error}")


def _key(where: str, cloud: CloudConfig, path: Path) -> Iterator[Fault]:
    """A file without a key that the cloud could take."""
    from edgewhisk.sync import key_file
    from edgewhisk.sync.dialects import dialect

    try:
        key_file.read(path, dialect(cloud.kind, cloud.url).schemes)
    except EdgeWhiskError as error:
        yield Fault(where, "cloud.auth_file", error.advice)


def _brokers(config: Config) -> dict[str, MqttConfig]:
    return {"mqtt": config.mqtt, **{f"brokers.{name}": one for name, one in config.brokers.items()}}


def _addresses(config: Config, where: str) -> Iterator[Fault]:
    """Addresses to listen on: two that are one, and those that cannot be had."""
    wanted = {"api.port": (config.api.host, config.api.port)}
    if config.mqtt.url.startswith(EMBEDDED):
        wanted["mqtt.url"] = broker_at(config.mqtt.url)
        if config.api.port and wanted["mqtt.url"][1] == config.api.port:
            yield Fault(where, "mqtt.url", f"has port {config.api.port}, as api.port: each needs its own")
            return
    running = config.state_dir / "url"
    with contextlib.suppress(OSError):
        if running.exists():  # the gateway itself holds them
            return
    for key, (host, port) in wanted.items():
        if problem := _unavailable(host, port):
            yield Fault(where, key, f"cannot listen on {host}:{port}: {problem}")


def _unavailable(host: str, port: int) -> str:
    """Why an address cannot be listened on, or ""."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "another program listens there (sudo ss -ltnp names it)"
        if error.errno == errno.EACCES and port < _PRIVILEGED:
            return f"ports below {_PRIVILEGED} are for root"
        return str(error.strerror)
    return ""


def _logins(config: Config, where: str) -> Iterator[Fault]:
    """Parts of URLs that nobody looks at."""
    urls = {"cloud.url": config.cloud.url, **{f"{key}.url": one.url for key, one in _brokers(config).items()}}
    for key, url in urls.items():
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None:
            instead = "auth_file" if key == "cloud.url" else "username and password_file"
            yield Fault(where, key, f"has a login, which is ignored: give {instead}")
        if key != "cloud.url" and (parts.query or parts.fragment or parts.path.strip("/")):
            yield Fault(where, key, f"has more than host and port, which is ignored: {_safe(url)}")
        if parts.port == 0:
            yield Fault(where, key, "has port 0, where nobody answers")


def _safe(url: str) -> str:
    """A URL without its login."""
    scheme, _, rest = url.partition("://")
    return shown(f"{scheme}://{rest.rpartition('@')[2]}")


def _profiles(config: Config, where: str, known: list[str]) -> Iterator[Fault]:
    for name, section in config.serial.items():
        if section.profile and section.profile not in known:
            close = get_close_matches(section.profile[:64], known, 3, 0.5)
            likely = f"did you mean {' or '.join(close)}?" if close else "edgewhisk device list names them"
            problem = f"there is no profile {shown(section.profile)}; {likely}"
            yield Fault(where, f"serial.{name}.profile", problem)


def _grants(config: Config, where: str) -> Iterator[Fault]:
    for subject, granted in config.grants.items():
        for name in set(granted.files) - set(config.files):
            yield Fault(where, f"grants.{subject}.files", f"there is no [files.{name}]")


def unknown_variables(config: Config, environment: Mapping[str, str]) -> Iterator[Fault]:
    """`EDGEWHISK_` variables that mean nothing, so that a typing error is not searched for long."""
    known = _OWN | {
        _variable(section, entry.name) for section, kind in SECTIONS.items() for entry in fields(kind)
    }
    for section, (kind, _) in NAMED.items():
        there = getattr(config, section)
        known |= {_variable(section, name, entry.name) for name in there for entry in fields(kind)}
    for name in sorted(environment):
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known:
            close = get_close_matches(name[:64], known, 1, 0.7)
            more = f"; did you mean {close[0]}?" if close else ""
            yield Fault("environment", name, f"is no variable of the configuration, and is ignored{more}")


def _variable(*parts: str) -> str:
    return (ENVIRONMENT_PREFIX + "_".join(parts)).upper().replace("-", "_")
