"""What is wrong with a configuration beyond the types of its values. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Final
from urllib.parse import urlsplit

from edgewhisk.base.mqtt_topics import check_filter, closes
from edgewhisk.config.schema import (
    CLOUD_KINDS,
    EMBEDDED,
    EVICT_OLDEST,
    REJECT,
    ApiConfig,
    BufferConfig,
    CloudConfig,
    Config,
    EmbeddedConfig,
    LaneConfig,
    MqttConfig,
    SerialConfig,
)
from edgewhisk.config.table import Requirement, broken
from edgewhisk.entity.annotations.lane import LANES
from edgewhisk.entity.limits import Limits
from edgewhisk.errors import Fault, FeedError

_LEVELS: Final = ("debug", "info", "warning", "error")
_MAX_PORT: Final = 65535
_MAX_TEXT: Final = 65535  # bytes of a text in MQTT
_MAX_PACKET: Final = 268_435_460  # bytes of a packet of MQTT
_PORTS: Final = {EMBEDDED: 1883, "mqtt": 1883, "mqtts": 8883}
_MAX_BAUD: Final = 4_000_000
PARITIES: Final = ("none", "even", "odd", "mark", "space")
FLOWS: Final = ("none", "rtscts", "xonxoff")
_MIN_BUFFER: Final = 8 << 20
_MIN_LANE: Final = 4 << 20
_MAX_WINDOW: Final = 1  # second
_SOURCES: Final = ("alarms", "changes", "fire", "http", "modbus", "mqtt", "serial")
_MAX_INTERVAL: Final = 3600  # seconds
_MAX_CALLS: Final = 100_000  # a minute


def check(config: Config, where: str) -> list[Fault]:
    """What types alone do not tell."""
    rules = [*_general(config), *_cloud(config.cloud), *_limits(config.limits)]
    for name, port in config.serial.items():
        rules += _serial(f"serial.{name}", port)
    rules += _embedded(config)
    rules += _broker("mqtt", config.mqtt)
    for name, broker in config.brokers.items():
        rules += _broker(f"brokers.{name}", broker)
    named = {"mqtt": config.mqtt, **{f"brokers.{name}": one for name, one in config.brokers.items()}}
    sessions = {key: (*broker_at(one.url), one.client_id) for key, one in named.items() if one.client_id}
    rules += twins({key: one for key, one in sessions.items() if _is_broker(named[key].url)})
    for subject, granted in config.grants.items():
        rules += _filters(f"grants.{subject}.mqtt", granted.mqtt)
    return broken(rules, where)


def _general(config: Config) -> Iterator[Requirement]:
    levels = f"must be one of {', '.join(_LEVELS)}"
    yield Requirement(config.log_level not in _LEVELS, "log_level", levels, 'log_level = "info"')
    yield Requirement(not config.api.host, "api.host", "must not be empty", 'host = "127.0.0.1"')
    in_range = 0 <= config.api.port <= _MAX_PORT
    yield Requirement(not in_range, "api.port", f"must be 0 to {_MAX_PORT}", "port = 3233")
    yield from _tls(config.api)
    yield from _buffer(config.buffer)
    for name, lane in config.lanes.items():
        yield from _lane(name, lane)


def _buffer(buffer: BufferConfig) -> Iterator[Requirement]:
    small = buffer.max_bytes < _MIN_BUFFER
    yield Requirement(small, "buffer.max_bytes", f"must be at least {_MIN_BUFFER}", "max_bytes = 268435456")
    long = not 0 <= buffer.commit_window <= _MAX_WINDOW
    window = f"must be 0 to {_MAX_WINDOW} seconds"
    strange = any(one.partition("/")[0] not in _SOURCES for one in buffer.trigger_records)
    sources = f"must be a list of some of {', '.join(_SOURCES)}"
    yield Requirement(strange, "buffer.trigger_records", sources, 'trigger_records = ["alarms", "fire"]')
    yield Requirement(long, "buffer.commit_window", window, "commit_window = 0.02")
    small = 0 < buffer.max_state_bytes < _MIN_BUFFER or buffer.max_state_bytes < 0
    at_least = f"must be at least {_MIN_BUFFER}, or 0 for no limit"
    yield Requirement(small, "buffer.max_state_bytes", at_least, "max_state_bytes = 1000000000")
    yield Requirement(
        buffer.min_free_bytes < 0, "buffer.min_free_bytes", "must not be below 0", "min_free_bytes = 0"
    )
    for key in ("card_bytes", "card_cycles"):
        yield Requirement(getattr(buffer, key) < 1, f"buffer.{key}", "must be at least 1")


def _lane(name: str, lane: LaneConfig) -> Iterator[Requirement]:
    yield Requirement(
        name not in LANES, f"lanes.{name}", f"is no lane; there are {', '.join(LANES)}", "[lanes.telemetry]"
    )
    small = 0 < lane.max_bytes < _MIN_LANE or lane.max_bytes < 0
    problem = f"must be at least {_MIN_LANE}, or 0 for the lane's usual part"
    yield Requirement(small, f"lanes.{name}.max_bytes", problem, "max_bytes = 67108864")
    yield Requirement(lane.ttl < 0, f"lanes.{name}.ttl", "must be seconds, or 0 for ever", "ttl = 604800")
    policies = f"must be {EVICT_OLDEST} or {REJECT}"
    known = lane.full in (EVICT_OLDEST, REJECT)
    yield Requirement(not known, f"lanes.{name}.full", policies, f'full = "{EVICT_OLDEST}"')


def _serial(section: str, port: SerialConfig) -> Iterator[Requirement]:
    yield Requirement(not port.port, f"{section}.port", "must name a device", 'port = "/dev/ttyUSB0"')
    odd = not 0 <= port.baudrate <= _MAX_BAUD
    yield Requirement(odd, f"{section}.baudrate", f"must be 0 to {_MAX_BAUD}", "baudrate = 9600")
    yield Requirement(
        port.bytesize not in (0, 5, 6, 7, 8), f"{section}.bytesize", "must be 5 to 8", "bytesize = 8"
    )
    yield Requirement(
        port.stopbits not in (0, 1, 1.5, 2), f"{section}.stopbits", "must be 1, 1.5 or 2", "stopbits = 1"
    )
    for key, choices in (("parity", PARITIES), ("flow", FLOWS)):
        wrong = getattr(port, key) not in ("", *choices)
        yield Requirement(
            wrong, f"{section}.{key}", f"must be one of {', '.join(choices)}", f'{key} = "none"'
        )
    yield Requirement(port.rate < 1, f"{section}.rate", "must be at least 1", "rate = 1000")


def _embedded(config: Config) -> Iterator[Requirement]:
    bounds = config.embedded
    embedded = config.mqtt.url.startswith(EMBEDDED) and _is_broker(config.mqtt.url)
    host = broker_at(config.mqtt.url)[0] if embedded else "127.0.0.1"
    bare = not is_loopback(host) and not bounds.tls and not bounds.plain_mqtt
    problem = (
        f"{host} can be reached by others, and tokens would cross the network in clear: set embedded.tls, or "
        "embedded.plain_mqtt = true"
    )
    yield Requirement(bare, "mqtt.url", problem, 'url = "embedded"')
    uncertain = bounds.tls and config.api.tls_cert is None
    needed = "needs api.tls_cert and api.tls_key: edgewhisk tls self-signed makes them"
    yield Requirement(uncertain, "embedded.tls", needed, "tls = false")
    yield from _filters("embedded.publish", bounds.publish)
    yield from _filters("embedded.subscribe", bounds.subscribe)
    for entry in fields(EmbeddedConfig):
        if not isinstance(entry.default, int | float) or isinstance(entry.default, bool):
            continue
        if entry.name == "websocket_port":
            wrong = not 0 <= bounds.websocket_port <= _MAX_PORT
            problem = f"must be 0 to {_MAX_PORT}"
            yield Requirement(wrong, "embedded.websocket_port", problem, "websocket_port = 9001")
            continue
        least, most = (1, _MAX_PORT) if entry.name in ("keep_alive", "receive_maximum") else (1, 1 << 32)
        if entry.name == "packet_bytes":
            most = _MAX_PACKET
        wrong = not least <= getattr(bounds, entry.name) <= most
        problem, example = f"must be {least} to {most}", f"{entry.name} = {entry.default}"
        yield Requirement(wrong, f"embedded.{entry.name}", problem, example)


def _broker(section: str, broker: MqttConfig) -> Iterator[Requirement]:
    brokers = "must be embedded, embedded://HOST:PORT, mqtt://HOST[:PORT] or mqtts://HOST[:PORT]"
    yield Requirement(not _is_broker(broker.url), f"{section}.url", brokers, 'url = "mqtt://127.0.0.1:1883"')
    second = section != "mqtt" and broker.url.startswith(EMBEDDED)
    yield Requirement(
        second, f"{section}.url", "must not be embedded: only [mqtt] can be", 'url = "mqtt://10.0.0.5"'
    )
    unsayable = "\0" in broker.client_id or len(broker.client_id.encode(errors="replace")) > _MAX_TEXT
    yield Requirement(
        unsayable,
        f"{section}.client_id",
        f"must not hold NUL, and be of {_MAX_TEXT} bytes at most",
        'client_id = "gateway-7"',
    )
    nameless = broker.password_file is not None and not broker.username
    yield Requirement(nameless, f"{section}.username", "is needed with password_file", 'username = "gateway"')
    half = (broker.cert_file is None) != (broker.key_file is None)
    both = 'cert_file = "/etc/edgewhisk/gateway.pem"  key_file = "/etc/edgewhisk/gateway.key"'
    yield Requirement(half, f"{section}.cert_file", "and key_file are needed together", both)
    secure = broker.ca_file is not None or broker.cert_file is not None
    plain = secure and not broker.url.startswith("mqtts:")
    yield Requirement(
        plain, f"{section}.url", "must begin with mqtts:// to use certificates", 'url = "mqtts://10.0.0.5"'
    )
    yield Requirement(
        broker.version not in ("3.1.1", "5"), f"{section}.version", "must be 3.1.1 or 5", 'version = "5"'
    )
    few = not 1 <= broker.receive_maximum <= _MAX_PORT
    yield Requirement(few, f"{section}.receive_maximum", f"must be 1 to {_MAX_PORT}", "receive_maximum = 200")
    short = not 0 <= broker.session_expiry < 1 << 32
    yield Requirement(
        short, f"{section}.session_expiry", "must be 0 to 4294967295 seconds", "session_expiry = 604800"
    )
    odd = bool(set(broker.status_topic) & set("+#")) or closes(broker.status_topic)
    yield Requirement(
        odd, f"{section}.status_topic", "must be a topic without + and #", 'status_topic = "gateways/a"'
    )


def broker_at(url: str) -> tuple[str, int]:
    """Host and port that a URL of a broker leads to."""
    parts = urlsplit(url if "//" in url else f"{url}://127.0.0.1")
    return parts.hostname or "127.0.0.1", _PORTS[parts.scheme] if parts.port is None else parts.port


def twins(sessions: Mapping[str, tuple[str, int, str]]) -> Iterator[Requirement]:
    """Sections (of host, port and client id) whose sessions would throw each other out for ever."""
    seen: dict[tuple[str, int, str], str] = {}
    for section, (host, port, client_id) in sessions.items():
        other = seen.setdefault(("127.0.0.1" if is_loopback(host) else host, port, client_id), section)
        problem = (
            f"{client_id!r} is the client id of [{other}], too, at the same broker: it would end the one's "
            "connection whenever the other connects; give each its own, or leave it out"
        )
        yield Requirement(other != section, f"{section}.client_id", problem, f'client_id = "{client_id}-2"')


def _filters(key: str, filters: Sequence[str]) -> Iterator[Requirement]:
    for text in filters:
        try:
            check_filter(text)
        except FeedError as error:
            yield Requirement(True, key, str(error), 'mqtt = ["plant-b/#"]')


def _tls(api: ApiConfig) -> Iterator[Requirement]:
    half = (api.tls_cert is None) != (api.tls_key is None)
    both = 'tls_cert = "/etc/edgewhisk/tls/cert.pem"  tls_key = "/etc/edgewhisk/tls/key.pem"'
    yield Requirement(half, "api.tls_cert", "and api.tls_key are needed together", both)
    bare = not is_loopback(api.host) and api.tls_cert is None and not api.plain_http
    problem = (
        f"{api.host} can be reached by others, and keys would cross the network in clear: set api.tls_cert "
        "and api.tls_key (edgewhisk tls self-signed makes them), or api.plain_http = true"
    )
    yield Requirement(bare, "api.host", problem, 'host = "127.0.0.1"')


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    return host == "localhost" or host == "::1" or host.startswith("127.")


def _cloud(cloud: CloudConfig) -> Iterator[Requirement]:
    odd = not 0 < cloud.interval <= _MAX_INTERVAL
    yield Requirement(
        odd, "cloud.interval", f"must be over 0 and at most {_MAX_INTERVAL} seconds", "interval = 2.0"
    )
    odd = not 1 <= cloud.longest_pause <= _MAX_INTERVAL
    yield Requirement(
        odd, "cloud.longest_pause", f"must be 1 to {_MAX_INTERVAL} seconds", "longest_pause = 300.0"
    )
    odd = not 0 <= cloud.rate <= _MAX_CALLS
    yield Requirement(odd, "cloud.rate", f"must be 1 to {_MAX_CALLS} a minute, or 0", "rate = 600")
    kinds = ", ".join(CLOUD_KINDS)
    odd = cloud.kind not in ("", *CLOUD_KINDS)
    yield Requirement(odd, "cloud.kind", f"must be one of {kinds}", 'kind = "openwhisk"')
    if not cloud.url:
        return
    address = "must be http(s)://HOST[:PORT]"
    yield Requirement(not is_http(cloud.url), "cloud.url", address, 'url = "https://ow.example.com"')
    keyless, key = cloud.auth_file is None, 'auth_file = "/etc/edgewhisk/cloud.key"'
    yield Requirement(keyless, "cloud.auth_file", "is needed with cloud.url; it holds a key", key)
    odd = bool(cloud.proxy) and not leads(cloud.proxy, ("http", "https", "socks5"))
    problem = "must be http(s):// or socks5://[USER:PASSWORD@]HOST:PORT"
    yield Requirement(odd, "cloud.proxy", problem, 'proxy = "socks5://127.0.0.1:1080"')


def _limits(limits: Limits) -> Iterator[Requirement]:
    for entry in fields(Limits):
        least = 0 if "logs" in entry.name or entry.default == 0 else 1
        problem = f"must be at least {least}"
        example = f"{entry.name} = {entry.default}"
        yield Requirement(getattr(limits, entry.name) < least, f"limits.{entry.name}", problem, example)
    small = 0 < limits.sandbox_memory < limits.default_action_memory
    problem = (
        f"must be at least limits.default_action_memory ({limits.default_action_memory}), so that one run "
        "can use what it may, or 0 for half of the memory that there is"
    )
    yield Requirement(small, "limits.sandbox_memory", problem, "sandbox_memory = 512")
    for noun in ("duration", "memory", "logs"):
        low, usual, high = (getattr(limits, f"{edge}_action_{noun}") for edge in ("min", "default", "max"))
        problem = f"min, default and max must be in this order, not {low}, {usual}, {high}"
        yield Requirement(not low <= usual <= high, f"limits.default_action_{noun}", problem)


def _is_broker(url: str) -> bool:
    return url == EMBEDDED or leads(url, (EMBEDDED, "mqtt", "mqtts"))


def is_http(url: str) -> bool:
    """Whether a URL leads to a host over HTTP."""
    return leads(url, ("http", "https"))


def leads(url: str, schemes: Sequence[str]) -> bool:
    """Whether a URL has one of some schemes, and a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port >= 0)
    except ValueError:  # the port is no number, or the brackets of an address are not closed
        return False
