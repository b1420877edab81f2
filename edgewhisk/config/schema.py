"""The sections of the configuration as frozen values.

The comments on the fields are documentation: `config.toml` is made of them (`python -m
tests.config.config_toml`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edgewhisk.entity.limits import Limits

EMBEDDED: Final = "embedded"


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """`[api]`: the OpenWhisk REST API."""

    host: str = "127.0.0.1"  # where the REST API listens; other than loopback only with TLS or plain_http
    port: int = 3233  # 0 takes a free one
    access_log: bool = False  # whether each request writes a line to the log
    # PEM file with the certificate and its chain. A file that cannot be used closes the API only: the rest
    # of the gateway runs, and the file is read again until it can be used.
    tls_cert: Path | None = None
    tls_key: Path | None = None  # PEM file with the key of tls_cert
    plain_http: bool = False  # serves other machines without TLS: behind a proxy, or in a trusted network


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """`[mqtt]`, `[brokers.NAME]`: the broker that sensors publish to, and others that feeds name."""

    # The broker: embedded (127.0.0.1:1883), embedded://HOST:PORT on loopback, mqtt://HOST[:PORT], or
    # mqtts://HOST[:PORT]. Only [mqtt] can be embedded.
    url: str = EMBEDDED
    username: str = ""  # for the broker
    password_file: Path | None = None  # file with the password; read before each connection
    # The name under which the broker keeps the session. Default: one made at the first start and kept in
    # state_dir; [brokers.NAME] has it with NAME behind it.
    client_id: str = ""
    version: str = "3.1.1"  # 3.1.1 or 5
    ca_file: Path | None = None  # PEM file with the authorities that mqtts:// trusts; default: the system's
    cert_file: Path | None = None  # PEM file with the gateway's own certificate
    key_file: Path | None = None  # PEM file with the key of cert_file
    receive_maximum: int = 200  # QoS 1 messages that the broker may send ahead (MQTT 5)
    session_expiry: int = 7 * 86_400  # seconds that the broker keeps the session of a lost client (MQTT 5)
    # Topic of a retained message: "online" while the gateway is connected, else "offline" (its will).
    status_topic: str = ""


CLOUD_KINDS: Final = ("openwhisk", "openserverless", "adobe", "digitalocean", "https")


@dataclass(frozen=True, slots=True)
class EmbeddedConfig:
    """`[embedded]`: whom the embedded broker serves, and what it takes and keeps at most."""

    # Whether clients connect with TLS; the certificate is that of [api].
    tls: bool = False
    plain_mqtt: bool = False  # serves other machines without TLS: in a trusted network
    # Whether other machines need no token. With one, the user name is the device's, the password the token
    # of `edgewhisk device token`. From this machine nobody needs one.
    anonymous: bool = False
    # Filters of topics that clients with a token, and those of other machines, may publish to. %u is the
    # user name, %c the client id.
    publish: tuple[str, ...] = ("#",)
    subscribe: tuple[str, ...] = ("#",)  # the same of topics that they may subscribe to
    websocket_port: int = 0  # of the same host, for clients over WebSocket; 0: none
    # Pages that may connect over WebSocket, for example https://panel.example.com. Programs, which name no
    # origin, may; a page of anybody's in a browser on this machine must not.
    origins: tuple[str, ...] = ()
    connections: int = 1000  # clients at once; fewer where the system allows few open files
    connections_per_address: int = 1000  # of them from one address
    connect_timeout: float = 10.0  # seconds for a client to say CONNECT
    # Seconds between two packets of a client at most; one of MQTT 5 that says more, or none, is told so.
    keep_alive: int = 3600
    packet_bytes: int = 4 << 20  # bytes of a packet; a longer one ends the connection before it is read
    receive_maximum: int = 100  # QoS 1 and 2 messages that are sent ahead, in each direction
    queued_messages: int = 10_000  # messages that wait for one client; beyond, new ones are dropped for it
    queued_bytes: int = 16 << 20  # bytes of them
    all_queued_bytes: int = 64 << 20  # bytes of all messages that wait for clients
    retained_topics: int = 10_000  # topics whose last message is kept; beyond, none of a new topic is
    retained_bytes: int = 16 << 20  # bytes of them
    subscriptions: int = 10_000  # of one client
    sessions: int = 2000  # clients that are known, connected or not
    session_expiry: int = 7 * 86_400  # seconds that the session of a client is kept at most after it left


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """`[cloud]`: where activations are synced to."""

    url: str = ""  # what activations are synced to; empty: no cloud
    kind: str = ""  # openwhisk, openserverless, adobe, digitalocean or https; empty: what the URL tells
    namespace: str = "_"  # the namespace of `ingest`, where that names none
    # File with a key a line: name:secret, bearer TOKEN or hmac SECRET; read again when the cloud refused all.
    auth_file: Path | None = None
    ingest: str = "/whisk.system/edge/ingest"  # the action that takes batches; every EdgeWhisk has this one
    interval: float = 2.0  # seconds between two batches at least; OpenWhisk allows 60 calls a minute
    rate: int = 0  # batches a minute at most; 0: as `interval` says
    longest_pause: float = 300.0  # seconds between two tries, at most, while the cloud is away
    ca_file: Path | None = None  # PEM: certificates that are trusted besides the system's
    client_cert: Path | None = None  # PEM: certificate and key that this gateway shows to the cloud
    proxy: str = ""  # http://HOST:PORT or socks5://HOST:PORT, with USER:PASSWORD@ if it asks; empty: none


@dataclass(frozen=True, slots=True)
class BufferConfig:
    """`[buffer]`: activations on disk."""

    max_bytes: int = 256 << 20  # bytes of activations on disk; beyond, the oldest go, synced ones first
    max_state_bytes: int = 0  # bytes of everything in state_dir; the buffer gives way; 0: no limit
    # Bytes of the file system that are left to others. Below that, activations that the cloud has go; the
    # others stay, and nothing new is taken.
    min_free_bytes: int = 64 << 20
    # Seconds that records wait for others, to share a write, if only a broker waits for them. Twice as long
    # where messages come quickly; five times as long if nobody waits.
    commit_window: float = 0.02
    card_bytes: int = 16_000_000_000  # bytes of the card; `status` computes from it how long the card lasts
    # Whose firings leave an activation of the trigger: feeds ("alarms", "changes/couchdb", "mqtt" ...) and
    # "fire", the API. Readings are many, and each activation is bytes on the card. The annotation
    # edge-record of a trigger, true or false, is stronger.
    trigger_records: tuple[str, ...] = ("alarms", "changes/couchdb", "fire")
    card_cycles: int = 1000  # how often each cell of the card can be written


EVICT_OLDEST: Final = "evict-oldest"
REJECT: Final = "reject"


@dataclass(frozen=True, slots=True)
class LaneConfig:
    """`[lanes.NAME]`: a lane of the buffer; NAME is errors, normal or telemetry."""

    max_bytes: int = 0  # bytes; 0: errors a quarter of buffer.max_bytes, telemetry half of it, normal all
    ttl: int = 0  # seconds after which an activation that is not synced expires; 0: never
    full: str = EVICT_OLDEST  # or reject: a full lane keeps what it has and takes no more


@dataclass(frozen=True, slots=True)
class SerialConfig:
    """`[serial.NAME]`: a serial port and what is connected to it."""

    port: str  # device path, best below /dev/serial/by-id, or usb:VENDOR:PRODUCT[:SERIAL]
    profile: str = ""  # what is connected: "vendor/model" of devices/
    baudrate: int = 0  # 0: what the profile says
    bytesize: int = 0  # 5 to 8; 0: what the profile says
    parity: str = ""  # none, even, odd, mark or space; empty: what the profile says
    stopbits: float = 0  # 1, 1.5 or 2; 0: what the profile says
    flow: str = ""  # none, rtscts or xonxoff; empty: what the profile says
    rs485: bool = False  # lets the driver switch the direction of an RS-485 transceiver with RTS
    rate: int = 1000  # frames a second; a port that sends more is not read until the next second


@dataclass(frozen=True, slots=True)
class FileConfig:
    """`[files.NAME]`: a database file of this machine."""

    path: Path  # a SQLite or TinyDB file that the feed changes/file may read


@dataclass(frozen=True, slots=True)
class GrantsConfig:
    """`[grants.SUBJECT]`: what a subject may reach; without a section `guest` all, any other nothing."""

    mqtt: tuple[str, ...] = ()  # topic filters, of mqtt/message, mqtt/publish and the capability mqtt
    serial: tuple[str, ...] = ()  # ports as serial/reading, serial/write and the capability serial name them
    modbus: tuple[str, ...] = ()  # ports and hosts as modbus/reading and modbus/write name them
    # Hosts, or host:port for that port alone, of http/request, changes/couchdb and the capability http. The
    # gateway's own API must be named with its port.
    http: tuple[str, ...] = ()
    files: tuple[str, ...] = ()  # names of [files.NAME] for changes/file


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be configured."""

    # Directory of everything that must survive. Default: /var/lib/edgewhisk for root, else
    # ~/.local/state/edgewhisk.
    state_dir: Path
    log_level: str = "info"  # debug, info, warning or error
    api: ApiConfig = ApiConfig()
    mqtt: MqttConfig = MqttConfig()
    embedded: EmbeddedConfig = EmbeddedConfig()
    cloud: CloudConfig = CloudConfig()
    buffer: BufferConfig = BufferConfig()
    limits: Limits = field(default_factory=Limits)
    serial: Mapping[str, SerialConfig] = field(default_factory=dict)
    brokers: Mapping[str, MqttConfig] = field(default_factory=dict)
    files: Mapping[str, FileConfig] = field(default_factory=dict)
    grants: Mapping[str, GrantsConfig] = field(default_factory=dict)
    lanes: Mapping[str, LaneConfig] = field(default_factory=dict)
    source: Path | None = None  # the file it was read from
