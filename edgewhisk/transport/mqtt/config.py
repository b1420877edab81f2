"""From the configuration to how brokers are reached: addresses, passwords, certificates."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final
from zlib import crc32

from edgewhisk.base.process import lasting_name
from edgewhisk.config.schema import Config, MqttConfig
from edgewhisk.config.validate import broker_at, twins
from edgewhisk.errors import ConfigError, Fault, StorageError
from edgewhisk.transport.mqtt.connection import MqttLink, Secrets

_LONGEST: Final = 23  # characters of a client id that every broker takes: MQTT 3.1.1, 3.1.3.1


def mqtt_links(config: Config) -> tuple[dict[str, MqttLink], list[str]]:
    """How to reach each broker, the one of `[mqtt]` under "", and what is odd about that."""
    client_id, trouble = lasting_name(config.state_dir / "client_id")
    troubles = [trouble] if trouble else []
    links = {"": mqtt_link("mqtt", config.mqtt, client_id)}
    for name, settings in config.brokers.items():
        links[name] = mqtt_link(f"brokers.{name}", settings, own_id(client_id, name))
    _check(links, config)
    return links, troubles


def own_id(client_id: str, name: str) -> str:
    """The client id of `[brokers.NAME]`: two sections may lead to one broker, which has one session an id."""
    readable = f"{client_id}-{name}"
    return readable if len(readable) <= _LONGEST else f"{client_id}-{crc32(name.encode()) & 0xFFFF:04x}"


def _check(links: Mapping[str, MqttLink], config: Config) -> None:
    """Raise `ConfigError` if two sections would have one session."""
    sessions = {
        f"brokers.{name}" if name else "mqtt": (link.host, link.port, link.client_id)
        for name, link in links.items()
    }
    broken = [rule for rule in twins(sessions) if rule.broken]
    if broken:
        where = str(config.source or "defaults")
        raise ConfigError(tuple(Fault(where, rule.key, rule.problem, rule.example) for rule in broken))


def mqtt_link(section: str, settings: MqttConfig, client_id: str) -> MqttLink:
    """How to reach the broker of a section; its files are read when it is connected to."""
    host, port = broker_at(settings.url)
    return MqttLink(
        host,
        port,
        settings.client_id or client_id,
        settings.username,
        version=5 if settings.version == "5" else 4,
        receive_maximum=settings.receive_maximum,
        session_expiry=settings.session_expiry,
        status_topic=settings.status_topic,
        secrets=partial(_secrets, section, settings),
    )


def _secrets(section: str, settings: MqttConfig) -> Secrets:
    """What the files of a section hold; raises `StorageError`."""
    tls = _tls(section, settings) if settings.url.startswith("mqtts:") else None
    return Secrets(_password(section, settings.password_file), tls)


def _tls(section: str, settings: MqttConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(section, "ca_file", settings.ca_file, error) from error
    if settings.cert_file is not None and settings.key_file is not None:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        except (OSError, ssl.SSLError) as error:
            raise _unusable(section, "cert_file", settings.cert_file, error) from error
    return context


def _unusable(section: str, key: str, path: Path | None, error: Exception) -> StorageError:
    return StorageError(f"[{section}] {key} {path} cannot be used: {error}")


def _password(section: str, path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"[{section}] password_file {path} cannot be read: {error}") from error
