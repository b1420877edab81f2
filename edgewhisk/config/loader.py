"""Configuration: TOML and environment -> frozen values, every fault reported at once.

Where a value comes from, the last wins: the defaults below, the file, `EDGEWHISK_SECTION_KEY`
variables. The file is `--config`, else `$EDGEWHISK_CONFIG`, else `/etc/edgewhisk/edgewhisk.toml`,
else none.
"""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, Final

from edgewhisk.config.schema import (
    ApiConfig,
    BufferConfig,
    CloudConfig,
    Config,
    EmbeddedConfig,
    FileConfig,
    GrantsConfig,
    LaneConfig,
    MqttConfig,
    SerialConfig,
)
from edgewhisk.config.table import Table, is_text
from edgewhisk.config.validate import check
from edgewhisk.entity.limits import Limits
from edgewhisk.errors import ConfigError, Fault

DEFAULT_FILE: Final = Path("/etc/edgewhisk/edgewhisk.toml")
ENVIRONMENT_PREFIX: Final = "EDGEWHISK_"


SECTIONS: Final[Mapping[str, type]] = {
    "api": ApiConfig,
    "mqtt": MqttConfig,
    "embedded": EmbeddedConfig,
    "cloud": CloudConfig,
    "buffer": BufferConfig,
    "limits": Limits,
}
_SECTION_LIKE: Final = {"api": "port = 3233", "mqtt": 'url = "mqtt://127.0.0.1:1883"',
                        "embedded": "connections = 1000",
                        "cloud": 'url = "https://openwhisk.example.com"', "buffer":
                        "max_bytes = 268435456", "limits": "fires_per_minute = 600"}  # fmt: skip
NAMED: Final[Mapping[str, tuple[type, str]]] = {
    "serial": (SerialConfig, '[serial.meter]  port = "/dev/ttyUSB0"'),
    "files": (FileConfig, '[files.log]  path = "/var/lib/plant/log.sqlite"'),
    "grants": (GrantsConfig, '[grants.plant-b]  mqtt = ["plant-b/#"]'),
    "lanes": (LaneConfig, "[lanes.telemetry]  ttl = 604800"),
    "brokers": (MqttConfig, '[brokers.plant]  url = "mqtts://broker.example.com"'),
}
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
    try:
        return DEFAULT_FILE if DEFAULT_FILE.exists() else None
    except PermissionError:  # reading it says so
        return DEFAULT_FILE


def load(given: Path | None, environment: Mapping[str, str]) -> Config:
    """Read the configuration; raises `ConfigError` with every fault found."""
    path = config_file(given, environment)
    document = read_toml(path) if path else {}
    faults: list[Fault] = []
    reader = _ConfigReader(str(path or "defaults"), environment, faults)
    Table(document, reader.where, "", faults).rest({*SECTIONS, *NAMED, "state_dir", "log_level"})
    top = reader.section("", _Top, {k: document[k] for k in ("state_dir", "log_level") if k in document})
    sections = {
        name: reader.section(name, kind, document.get(name, {}), f"[{name}]  {_SECTION_LIKE[name]}")
        for name, kind in SECTIONS.items()
    }
    named: dict[str, Any] = {name: reader.named(name, document.get(name, {})) for name in NAMED}
    if not faults:
        config = Config(
            state_dir=top.state_dir or default_state_dir(environment),
            log_level=top.log_level,
            source=path,
            **sections,
            **named,
        )
        faults.extend(check(config, reader.where))
    if faults:
        raise ConfigError(tuple(faults))
    return config


@dataclass(frozen=True, slots=True)
class _Top:
    state_dir: Path | None = None
    log_level: str = "info"


def read_toml(path: Path) -> dict[str, Any]:
    """What a file holds; raises `ConfigError`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem = "there is no such file"
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot be read: {error}"
    except (ValueError, RecursionError) as error:  # also of a number with thousands of digits
        problem = f"is not valid TOML: {error}"
    raise ConfigError((Fault(str(path), "(file)", problem),))


class _ConfigReader:
    """Turns tables into sections and collects what is wrong with them."""

    def __init__(self, where: str, environment: Mapping[str, str], faults: list[Fault]) -> None:
        self.where = where
        self._environment = environment
        self._faults = faults

    def section(self, name: str, kind: type, table: object, example: str = "") -> Any:
        """An instance of `kind`; faulty keys keep their default."""
        entries, hints = fields(kind), typing.get_type_hints(kind)
        kinds = {entry.name: _plain(hints[entry.name]) for entry in entries}
        examples = {entry.name: _example(entry, kinds[entry.name]) for entry in entries}
        found = Table(table, self.where, name, self._faults, {"": example, **examples})
        found.rest(kinds)
        values: dict[str, Any] = {}
        for entry in entries:
            key = entry.name
            variable = ENVIRONMENT_PREFIX + _dotted(name, key).upper().replace(".", "_").replace("-", "_")
            if variable in self._environment:
                values[key] = self._from_text(variable, kinds[key], self._environment[variable])
            elif key in found:
                values[key] = _READ[kinds[key]](found, key)
            elif entry.default is MISSING and entry.default_factory is MISSING:
                found.fault(key, "is missing")
                values[key] = ""
        return kind(**{key: value for key, value in values.items() if value is not None})

    def named(self, section: str, table: object) -> dict[str, Any]:
        """All `[SECTION.NAME]` tables."""
        kind, example = NAMED[section]
        if not isinstance(table, dict):
            self._faults.append(Fault(self.where, section, "must hold tables", example))
            return {}
        found: dict[str, Any] = {}
        for name, entry in table.items():
            key = f"{section}.{name}"
            if not _NAME.fullmatch(name):
                problem = "a name has letters, digits, '-' and '_' only"
                self._faults.append(Fault(self.where, key, problem, example))
            found[name] = self.section(key, kind, entry, example)
        return found

    def _from_text(self, variable: str, kind: type, text: str) -> Any:
        value: Any = text
        with contextlib.suppress(ValueError):  # then it is the text that is wrong
            value = _CONVERT[kind](text) if kind in _CONVERT else text
        return _READ[kind](Table({variable: value}, "environment", "", self._faults), variable)


_READ: Final[Mapping[type, Callable[[Table, str], Any]]] = {
    str: Table.text,
    int: lambda table, key: table.whole(key, 0),
    float: lambda table, key: float(table.number(key, 0.0)),
    tuple: Table.texts,
    Path: lambda table, key: _path(table.read(key, "", is_text, "a path")),
    bool: Table.flag,
}
_CONVERT: Final[Mapping[type, Callable[[str], Any]]] = {  # what a text means where TOML has no text
    int: int,
    float: float,
    tuple: lambda text: [part.strip() for part in text.split(",") if part.strip()],
    bool: lambda text: {"true": True, "false": False}.get(text.lower(), text),
}


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # of a user who is not there: as any other file that is not there
        return Path(text)


def _plain(hint: Any) -> type:
    """`Path` of `Path | None`, `tuple` of `tuple[str, ...]`."""
    if typing.get_origin(hint) is tuple:
        return tuple
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    return typing.cast("type", hint)


def _example(entry: Field[Any], plain: type) -> str:
    if entry.default is MISSING:
        return ""
    usual: Mapping[type, str] = {
        Path: '"/etc/edgewhisk/cloud.key"',
        tuple: '["..."]',
        str: f'"{entry.default}"',
    }
    return f"{entry.name} = {usual.get(plain, str(entry.default).lower())}"


def _dotted(section: str, key: str) -> str:
    return f"{section}.{key}" if section else key
