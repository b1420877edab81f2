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
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, Final

from edgewhisk.config.schema import (
    ApiConfig,
    BufferConfig,
    CloudConfig,
    Config,
    FileConfig,
    GrantsConfig,
    LaneConfig,
    MqttConfig,
    SerialConfig,
)
from edgewhisk.config.validate import check
from edgewhisk.entity.limits import Limits
from edgewhisk.errors import ConfigError, Fault

DEFAULT_FILE: Final = Path("/etc/edgewhisk/edgewhisk.toml")
ENVIRONMENT_PREFIX: Final = "EDGEWHISK_"


SECTIONS: Final[Mapping[str, type]] = {
    "api": ApiConfig,
    "mqtt": MqttConfig,
    "cloud": CloudConfig,
    "buffer": BufferConfig,
    "limits": Limits,
}
_SECTION_LIKE: Final = {"api": "port = 3233", "mqtt": 'url = "mqtt://127.0.0.1:1883"',
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
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def load(given: Path | None, environment: Mapping[str, str]) -> Config:
    """Read the configuration; raises `ConfigError` with every fault found."""
    path = config_file(given, environment)
    document = _read(path) if path else {}
    faults: list[Fault] = []
    reader = _ConfigReader(str(path or "defaults"), environment, faults)
    known = {*SECTIONS, *NAMED, "state_dir", "log_level"}
    faults.extend(Fault(reader.where, key, _unknown(key, known)) for key in sorted(set(document) - known))
    top = reader.section("", _Top, {k: document[k] for k in ("state_dir", "log_level") if k in document})
    sections = {name: reader.section(name, kind, document.get(name, {})) for name, kind in SECTIONS.items()}
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


class _ConfigReader:
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
            if isinstance(entry, dict):
                found[name] = self.section(key, kind, entry)
            else:
                self._faults.append(Fault(self.where, key, "must be a table", example))
        return found

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
        if plain is tuple and isinstance(value, list) and all(isinstance(part, str) for part in value):
            return tuple(value)
        if plain is Path and isinstance(value, str):
            return Path(value).expanduser()
        if isinstance(value, plain) and not (plain is int and isinstance(value, bool)):
            return value
        example = f"{entry.name} = {_example(entry, plain)}"
        self._faults.append(Fault(self.where, key, f"must be {_WORDS[plain]}, not {value!r}", example))
        return None


_WORDS: Final = {
    tuple: "a list of texts",
    str: "text",
    int: "a whole number",
    float: "a number",
    Path: "a path",
    bool: "true or false",
}
_CONVERT: Final[Mapping[type, Callable[[str], Any]]] = {
    str: str,
    int: int,
    float: float,
    tuple: lambda text: tuple(part.strip() for part in text.split(",") if part.strip()),
    Path: lambda text: Path(text).expanduser(),
    bool: lambda text: _boolean(text),
}


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _plain(hint: Any) -> type:
    """`Path` of `Path | None`, `tuple` of `tuple[str, ...]`."""
    if typing.get_origin(hint) is tuple:
        return tuple
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    return typing.cast("type", hint)


def _example(entry: Field[Any], plain: type) -> str:
    if plain is Path:
        return '"/etc/edgewhisk/cloud.key"'
    if plain is tuple:
        return '["..."]'
    default = "" if entry.default in (MISSING, None) else entry.default
    return f'"{default}"' if plain is str else str(default).lower()


def _dotted(section: str, key: str) -> str:
    return f"{section}.{key}" if section else key


def _unknown(key: str, known: typing.Iterable[str]) -> str:
    from difflib import get_close_matches  # for a mistake only

    names = sorted(known)
    near = get_close_matches(key, names, n=1)
    return f"is not a key; did you mean {near[0]!r}?" if near else f"is not a key; known: {', '.join(names)}"
