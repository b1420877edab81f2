"""The sections of the configuration as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edgewhisk.entity.limits import Limits

EMBEDDED: Final = "embedded"


@dataclass(frozen=True, slots=True)
class Api:
    """`[api]`: the OpenWhisk REST API."""

    host: str = "127.0.0.1"
    port: int = 3233  # OpenWhisk standalone's; 0 takes a free one
    access_log: bool = False  # one line for each request
    tls_cert: Path | None = None  # PEM, with the chain
    tls_key: Path | None = None
    plain_http: bool = False  # let others than this machine in without TLS


@dataclass(frozen=True, slots=True)
class Mqtt:
    """`[mqtt]`: the broker that sensors publish to."""

    url: str = EMBEDDED  # or embedded://HOST:PORT, mqtt://HOST[:PORT], mqtts://HOST[:PORT]
    username: str = ""
    password_file: Path | None = None
    client_id: str = ""  # default: made at first start, kept in the state directory
    version: str = "3.1.1"  # or 5
    ca_file: Path | None = None  # PEM; default: the system's authorities
    cert_file: Path | None = None  # PEM, of the gateway itself
    key_file: Path | None = None
    receive_maximum: int = 200  # QoS 1 messages under way at once (MQTT 5)
    session_expiry: int = 7 * 86_400  # seconds that the broker keeps what we miss (MQTT 5)
    status_topic: str = ""  # retained "online" while connected, "offline" as the will


@dataclass(frozen=True, slots=True)
class Cloud:
    """`[cloud]`: the OpenWhisk controller that activations are synced to; absent = none."""

    url: str = ""
    namespace: str = "_"
    auth_file: Path | None = None  # holds "uuid:key"
    ingest: str = "/whisk.system/edge/ingest"  # the action that takes batches
    interval: float = 2.0  # seconds between batches at least; OpenWhisk allows 60 calls a minute
    longest_pause: float = 300.0  # seconds between two tries while the cloud is away


@dataclass(frozen=True, slots=True)
class Buffer:
    """`[buffer]`: activations on disk."""

    max_bytes: int = 256 << 20  # oldest go first when it is full, synced before unsynced
    max_state_bytes: int = 0  # of the whole state directory; the buffer gives way; 0: no limit
    min_free_bytes: int = 64 << 20  # of the file system, left to others: below, nothing new is taken
    commit_window: float = 0.02  # seconds that records wait for company if only a broker waits for them
    card_bytes: int = 16_000_000_000  # size of the card, for how long it will last
    card_cycles: int = 1000  # how often each of its cells can be written


EVICT_OLDEST: Final = "evict-oldest"
REJECT: Final = "reject"


@dataclass(frozen=True, slots=True)
class Lane:
    """`[lanes.NAME]`: the part of the buffer for errors, normal activations or telemetry."""

    max_bytes: int = 0  # 0: errors a quarter of buffer.max_bytes, telemetry half of it, normal all
    ttl: int = 0  # seconds after which what was not synced expires; 0: never
    full: str = EVICT_OLDEST  # or reject: keep what is there, take no more


@dataclass(frozen=True, slots=True)
class Serial:
    """`[serial.NAME]`: a serial port and what is connected to it."""

    port: str  # device path, or usb:VENDOR:PRODUCT[:SERIAL]
    profile: str = ""  # "vendor/model" of devices/
    baudrate: int = 0  # 0 and "" in this section: what the profile says
    bytesize: int = 0
    parity: str = ""  # none, even, odd, mark, space
    stopbits: float = 0
    flow: str = ""  # none, rtscts, xonxoff
    rs485: bool = False
    rate: int = 1000  # frames a second; beyond, the port is not read until the next second


@dataclass(frozen=True, slots=True)
class File:
    """`[files.NAME]`: a database of this machine that a feed may read."""

    path: Path


@dataclass(frozen=True, slots=True)
class Grants:
    """`[grants.SUBJECT]`: what a subject's feeds and actuators may reach. Only guest may without one."""

    mqtt: tuple[str, ...] = ()  # topic filters
    serial: tuple[str, ...] = ()  # names of ports
    modbus: tuple[str, ...] = ()  # names of ports, hosts
    http: tuple[str, ...] = ()  # hosts
    files: tuple[str, ...] = ()  # names of [files.NAME]


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be configured."""

    state_dir: Path
    log_level: str = "info"
    api: Api = Api()
    mqtt: Mqtt = Mqtt()
    cloud: Cloud = Cloud()
    buffer: Buffer = Buffer()
    limits: Limits = field(default_factory=Limits)
    serial: Mapping[str, Serial] = field(default_factory=dict)
    brokers: Mapping[str, Mqtt] = field(default_factory=dict)
    files: Mapping[str, File] = field(default_factory=dict)
    grants: Mapping[str, Grants] = field(default_factory=dict)
    lanes: Mapping[str, Lane] = field(default_factory=dict)
    source: Path | None = None  # the file it was read from
