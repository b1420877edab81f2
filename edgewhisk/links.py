"""From the configuration to how brokers are reached: addresses, passwords, certificates."""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from edgewhisk.errors import ConfigError, Fault, InstanceError, StorageError
from edgewhisk.feed.broker import EmbeddedBroker
from edgewhisk.feed.mqtt_connection import MqttLink
from edgewhisk.instance import lasting_name
from edgewhisk.settings import EMBEDDED, Config, Mqtt

_PORTS: Final = {EMBEDDED: 1883, "mqtt": 1883, "mqtts": 8883}


async def mqtt_links(
    config: Config, stack: contextlib.AsyncExitStack
) -> tuple[dict[str, MqttLink], list[str]]:
    """How to reach each broker, the one of `[mqtt]` under "", and what is odd about that.

    Starts the embedded one; `stack` stops it.
    """
    client_id, trouble = lasting_name(config.state_dir / "client_id")
    troubles = [trouble] if trouble else []
    links = {"": mqtt_link("mqtt", config.mqtt, client_id)}
    for name, settings in config.brokers.items():
        links[name] = mqtt_link(f"brokers.{name}", settings, client_id)
    if not config.mqtt.url.startswith(EMBEDDED):
        return links, troubles
    broker = EmbeddedBroker(links[""].host, links[""].port)
    try:
        links[""] = replace(links[""], port=await broker.start())
        stack.push_async_callback(broker.stop)
    except InstanceError as error:
        troubles.append(f"{error}; using the broker that runs there ({error.hint})")
    return links, troubles


def mqtt_link(section: str, settings: Mqtt, client_id: str) -> MqttLink:
    """How to reach the broker of a section. Reads files; raises `EdgeWhiskError`."""
    url = settings.url if "//" in settings.url else f"{settings.url}://127.0.0.1"
    parts = urlsplit(url)
    return MqttLink(
        parts.hostname or "127.0.0.1",
        _PORTS[parts.scheme] if parts.port is None else parts.port,
        settings.client_id or client_id,
        settings.username,
        _password(section, settings.password_file),
        _tls(section, settings) if parts.scheme == "mqtts" else None,
        5 if settings.version == "5" else 4,
        settings.receive_maximum,
        settings.session_expiry,
        settings.status_topic,
    )


def _tls(section: str, settings: Mqtt) -> ssl.SSLContext:
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


def _unusable(section: str, key: str, path: Path | None, error: Exception) -> ConfigError:
    return ConfigError((Fault("configuration", f"{section}.{key}", f"{path} cannot be used: {error}"),))


def _password(section: str, path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"[{section}] password_file {path} cannot be read: {error}") from error
