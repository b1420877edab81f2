"""Configuration: TOML and environment -> frozen values, every fault reported at once.

Where a value comes from, the last wins: the defaults below, the file, `EDGEWHISK_SECTION_KEY`
variables. The file is `--config`, else `$EDGEWHISK_CONFIG`, else `/etc/edgewhisk/edgewhisk.toml`,
else none.
"""

from __future__ import annotations

import os
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from edgewhisk.entity.limits import Limits
from edgewhisk.errors import ConfigError, Fault

DEFAULT_FILE: Final = Path("/etc/edgewhisk/edgewhisk.toml")
ENVIRONMENT_PREFIX: Final = "EDGEWHISK_"
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

    url: str = EMBEDDED  # or embedded://HOST:PORT, mqtt://HOST[:PORT]
    username: str = ""
    password_file: Path | None = None
    client_id: str = ""  # default: made at first start, kept in the state directory


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
    commit_window: float = 0.02  # seconds that records nobody waits for may wait for company


@dataclass(frozen=True, slots=True)
class Serial:
    """`[serial.NAME]`: a serial port and what is connected to it."""

    port: str  # device path; /dev/serial/by-id/... survives renumbering
    profile: str = ""  # "vendor/model" of devices/
    baudrate: int = 0  # 0: what the profile says


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
    source: Path | None = None  # the file it was read from


SECTIONS: Final[Mapping[str, type]] = {
    "api": Api,
    "mqtt": Mqtt,
    "cloud": Cloud,
    "buffer": Buffer,
    "limits": Limits,
}
_SECTION_LIKE: Final = {"api": "port = 3233", "mqtt": 'url = "mqtt://127.0.0.1:1883"',
                        "cloud": 'url = "https://openwhisk.example.com"', "buffer":
                        "max_bytes = 268435456", "limits": "fires_per_minute = 600"}  # fmt: skip
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def default_state_dir(environment: Mapping[str, str]) -> Path:
    """systemd's state directory, else root's, else the user's."""
    if given := environment.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/edgewhisk")
    base = environment.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "edgewhisk"


def config_file(given: Path | None, environment: Mapping[str, str]) -> Path | None:
    """The file that holds for this start, or None for built-in defaults."""
    if given is not None:
        return given
    if named := environment.get("EDGEWHISK_CONFIG"):
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def load(given: Path | None, environment: Mapping[str, str]) -> Config:
    """Read the configuration; raises `ConfigError` with every fault found."""
    path = config_file(given, environment)
    document = _read(path) if path else {}
    faults: list[Fault] = []
    reader = _Reader(str(path or "defaults"), environment, faults)
    known = {*SECTIONS, "serial", "state_dir", "log_level"}
    faults.extend(Fault(reader.where, key, _unknown(key, known)) for key in sorted(set(document) - known))
    top = reader.section("", _Top, {k: document[k] for k in ("state_dir", "log_level") if k in document})
    sections = {name: reader.section(name, kind, document.get(name, {})) for name, kind in SECTIONS.items()}
    serial = reader.serial(document.get("serial", {}))
    if not faults:
        config = Config(
            state_dir=top.state_dir or default_state_dir(environment),
            log_level=top.log_level,
            serial=serial,
            source=path,
            **sections,
        )
        faults.extend(_check(config, reader.where))
    if faults:
        raise ConfigError(tuple(faults))
    return config


@dataclass(frozen=True, slots=True)
class _Top:
    state_dir: Path | None = None
    log_level: str = "info"


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem = "there is no such file"
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot be read: {error}"
    except tomllib.TOMLDecodeError as error:
        problem = f"is not valid TOML: {error}"
    raise ConfigError((Fault(str(path), "(file)", problem),))


class _Reader:
    """Turns tables into sections and collects what is wrong with them."""

    def __init__(self, where: str, environment: Mapping[str, str], faults: list[Fault]) -> None:
        self.where = where
        self._environment = environment
        self._faults = faults

    def section(self, name: str, kind: type, table: object) -> Any:
        """An instance of `kind`; faulty keys keep their default."""
        if not isinstance(table, dict):
            example = f"[{name}]  {_SECTION_LIKE.get(name, '')}"
            self._faults.append(Fault(self.where, name, "must be a table", example))
            return kind()
        known = {entry.name: entry for entry in fields(kind)}
        for key in sorted(set(table) - set(known)):
            self._faults.append(Fault(self.where, _dotted(name, key), _unknown(key, known)))
        hints = typing.get_type_hints(kind)
        values: dict[str, Any] = {}
        for key, entry in known.items():
            variable = ENVIRONMENT_PREFIX + _dotted(name, key).upper().replace(".", "_").replace("-", "_")
            if variable in self._environment:
                values[key] = self._from_text(variable, hints[key], self._environment[variable])
            elif key in table:
                values[key] = self._value(_dotted(name, key), hints[key], table[key], entry)
            elif entry.default is MISSING and entry.default_factory is MISSING:
                self._faults.append(Fault(self.where, _dotted(name, key), "is missing"))
                values[key] = ""
        return kind(**{key: value for key, value in values.items() if value is not None})

    def serial(self, table: object) -> dict[str, Serial]:
        """All `[serial.NAME]` tables."""
        example = '[serial.meter]  port = "/dev/ttyUSB0"'
        if not isinstance(table, dict):
            self._faults.append(Fault(self.where, "serial", "must hold tables", example))
            return {}
        for name in table:
            if not _NAME.fullmatch(name):
                problem = "a port's name has letters, digits, '-' and '_' only"
                self._faults.append(Fault(self.where, f"serial.{name}", problem, example))
        return {name: self.section(f"serial.{name}", Serial, entry) if isinstance(entry, dict)
                else self._not_a_table(name, example) for name, entry in table.items()}  # fmt: skip

    def _not_a_table(self, name: str, example: str) -> Serial:
        self._faults.append(Fault(self.where, f"serial.{name}", "must be a table", example))
        return Serial(port="")

    def _from_text(self, variable: str, hint: Any, text: str) -> Any:
        plain = _plain(hint)
        try:
            return _CONVERT[plain](text)
        except ValueError:
            problem = f"must be {_WORDS[plain]}, not {text!r}"
            self._faults.append(Fault("environment", variable, problem))
            return None

    def _value(self, key: str, hint: Any, value: Any, entry: Field[Any]) -> Any:
        plain = _plain(hint)
        if plain is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if plain is Path and isinstance(value, str):
            return Path(value).expanduser()
        if isinstance(value, plain) and not (plain is int and isinstance(value, bool)):
            return value
        example = f"{entry.name} = {_example(entry, plain)}"
        self._faults.append(Fault(self.where, key, f"must be {_WORDS[plain]}, not {value!r}", example))
        return None


_WORDS: Final = {str: "text", int: "a whole number", float: "a number", Path: "a path", bool: "true or false"}
_CONVERT: Final[Mapping[type, Callable[[str], Any]]] = {
    str: str,
    int: int,
    float: float,
    Path: lambda text: Path(text).expanduser(),
    bool: lambda text: _boolean(text),
}


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _plain(hint: Any) -> type:
    """`Path` of `Path | None`."""
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    return typing.cast("type", hint)


def _example(entry: Field[Any], plain: type) -> str:
    if plain is Path:
        return '"/etc/edgewhisk/cloud.key"'
    default = "" if entry.default in (MISSING, None) else entry.default
    return f'"{default}"' if plain is str else str(default).lower()


def _dotted(section: str, key: str) -> str:
    return f"{section}.{key}" if section else key


def _unknown(key: str, known: typing.Iterable[str]) -> str:
    names = sorted(known)
    near = get_close_matches(key, names, n=1)
    return f"is not a key; did you mean {near[0]!r}?" if near else f"is not a key; known: {', '.join(names)}"


_LEVELS: Final = ("debug", "info", "warning", "error")
_MAX_PORT: Final = 65535
_MIN_BUFFER: Final = 8 << 20
_MAX_WINDOW: Final = 1  # second
_MAX_INTERVAL: Final = 3600  # seconds


class _Rule(NamedTuple):
    """A fault, if `broken`."""

    broken: bool
    key: str
    problem: str
    example: str = ""


def _check(config: Config, where: str) -> list[Fault]:
    """What types alone do not tell."""
    rules = [*_general(config), *_cloud(config.cloud), *_limits(config.limits)]
    rules += [
        _Rule(not entry.port, f"serial.{name}.port", "must name a device", 'port = "/dev/ttyUSB0"')
        for name, entry in config.serial.items()
    ]
    return [Fault(where, rule.key, rule.problem, rule.example) for rule in rules if rule.broken]


def _general(config: Config) -> Iterator[_Rule]:
    levels = f"must be one of {', '.join(_LEVELS)}"
    yield _Rule(config.log_level not in _LEVELS, "log_level", levels, 'log_level = "info"')
    yield _Rule(not config.api.host, "api.host", "must not be empty", 'host = "127.0.0.1"')
    in_range = 0 <= config.api.port <= _MAX_PORT
    yield _Rule(not in_range, "api.port", f"must be 0 to {_MAX_PORT}", "port = 3233")
    yield from _tls(config.api)
    brokers = "must be embedded, embedded://HOST:PORT or mqtt://HOST[:PORT]"
    yield _Rule(not _is_broker(config.mqtt.url), "mqtt.url", brokers, 'url = "mqtt://127.0.0.1:1883"')
    nameless = config.mqtt.password_file is not None and not config.mqtt.username
    yield _Rule(nameless, "mqtt.username", "is needed with password_file", 'username = "gateway"')
    small = config.buffer.max_bytes < _MIN_BUFFER
    yield _Rule(small, "buffer.max_bytes", f"must be at least {_MIN_BUFFER}", "max_bytes = 268435456")
    long = not 0 <= config.buffer.commit_window <= _MAX_WINDOW
    window = f"must be 0 to {_MAX_WINDOW} seconds"
    yield _Rule(long, "buffer.commit_window", window, "commit_window = 0.02")


def _tls(api: Api) -> Iterator[_Rule]:
    half = (api.tls_cert is None) != (api.tls_key is None)
    both = 'tls_cert = "/etc/edgewhisk/tls/cert.pem"  tls_key = "/etc/edgewhisk/tls/key.pem"'
    yield _Rule(half, "api.tls_cert", "and api.tls_key are needed together", both)
    bare = not is_loopback(api.host) and api.tls_cert is None and not api.plain_http
    problem = (
        f"{api.host} can be reached by others, and keys would cross the network in clear: set api.tls_cert "
        "and api.tls_key (edgewhisk tls self-signed makes them), or api.plain_http = true"
    )
    yield _Rule(bare, "api.host", problem, 'host = "127.0.0.1"')


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    return host == "localhost" or host == "::1" or host.startswith("127.")


def _cloud(cloud: Cloud) -> Iterator[_Rule]:
    odd = not 0 < cloud.interval <= _MAX_INTERVAL
    yield _Rule(
        odd, "cloud.interval", f"must be over 0 and at most {_MAX_INTERVAL} seconds", "interval = 2.0"
    )
    odd = not 1 <= cloud.longest_pause <= _MAX_INTERVAL
    yield _Rule(odd, "cloud.longest_pause", f"must be 1 to {_MAX_INTERVAL} seconds", "longest_pause = 300.0")
    if not cloud.url:
        return
    address = "must be http(s)://HOST[:PORT]"
    yield _Rule(not _is_http(cloud.url), "cloud.url", address, 'url = "https://ow.example.com"')
    keyless, key = cloud.auth_file is None, 'auth_file = "/etc/edgewhisk/cloud.key"'
    yield _Rule(keyless, "cloud.auth_file", "is needed with cloud.url; it holds uuid:key", key)


def _limits(limits: Limits) -> Iterator[_Rule]:
    for entry in fields(Limits):
        least = 0 if "logs" in entry.name else 1
        problem = f"must be at least {least}"
        example = f"{entry.name} = {entry.default}"
        yield _Rule(getattr(limits, entry.name) < least, f"limits.{entry.name}", problem, example)
    for noun in ("duration", "memory", "logs"):
        low, usual, high = (getattr(limits, f"{edge}_action_{noun}") for edge in ("min", "default", "max"))
        problem = f"min, default and max must be in this order, not {low}, {usual}, {high}"
        yield _Rule(not low <= usual <= high, f"limits.default_action_{noun}", problem)


def _is_broker(url: str) -> bool:
    if url == EMBEDDED:
        return True
    parts = urlsplit(url)
    return parts.scheme in (EMBEDDED, "mqtt") and _has_host(url)


def _is_http(url: str) -> bool:
    return urlsplit(url).scheme in ("http", "https") and _has_host(url)


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or 0 <= parts.port <= _MAX_PORT)
    except ValueError:  # the port is no number
        return False
