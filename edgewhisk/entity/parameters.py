"""Parameters and annotations: arrays of `{key, value}` with OpenWhisk's merge rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgewhisk import jsontext
from edgewhisk.entity.limits import Limits
from edgewhisk.errors import MalformedContent, TooLarge

JsonValue = Any  # what jsontext.loads can return


@dataclass(frozen=True, slots=True)
class Parameter:
    """One key with its JSON value; `init` ones go to the environment instead of `main`."""

    key: str
    value: JsonValue
    init: bool = False
    encryption: str | None = None  # kept as it was given; nothing here encrypts

    def to_json(self) -> dict[str, JsonValue]:
        """The form of the REST API."""
        document = {"key": self.key, "value": self.value}
        if self.init:
            document["init"] = True
        if self.encryption is not None:
            document["encryption"] = self.encryption
        return document


@dataclass(frozen=True, slots=True)
class Parameters:
    """An ordered set of parameters; later duplicates of a key win."""

    items: tuple[Parameter, ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, JsonValue]) -> Parameters:
        """Make parameters from a mapping."""
        return cls(tuple(Parameter(key, value) for key, value in values.items()))

    @classmethod
    def from_json(cls, value: object, what: str = "parameters") -> Parameters:
        """Read the array form; `null` means none. Raises `MalformedContent`, which names `what`."""
        if value is None:
            return cls()
        if not isinstance(value, list):
            raise MalformedContent(f"{what} malformed!")
        found: dict[str, Parameter] = {}
        for item in value:
            if not _is_parameter(item):
                raise MalformedContent(f"{what} malformed!")
            init, encryption = item.get("init", False), item.get("encryption")
            found[item["key"]] = Parameter(item["key"], item["value"], init, encryption)
        return cls(tuple(found.values()))

    def to_json(self) -> list[dict[str, JsonValue]]:
        """The array form."""
        return [item.to_json() for item in self.items]

    @property
    def weight(self) -> int:
        """About the bytes that the values keep in memory: as long as they are in JSON."""
        return len(jsontext.dumps([item.value for item in self.items])) if self.items else 0

    def get(self, key: str, default: JsonValue = None) -> JsonValue:
        """The value of `key`."""
        return next((item.value for item in self.items if item.key == key), default)

    def truthy(self, key: str) -> bool:
        """Whether `key` has a value that OpenWhisk takes for true: any object and array is one."""
        value = self.get(key)
        return bool(value) or isinstance(value, list | dict)

    def __contains__(self, key: object) -> bool:
        """Whether `key` is present, even with a null value."""
        return any(item.key == key for item in self.items)

    def merged(self, over: Parameters) -> Parameters:
        """These parameters with those of `over` on top."""
        found = {item.key: item for item in self.items}
        found.update((item.key, item) for item in over.items)
        return Parameters(tuple(found.values()))

    def without(self, keys: Iterable[str]) -> Parameters:
        """These parameters less `keys`."""
        gone = frozenset(keys)
        return Parameters(tuple(item for item in self.items if item.key not in gone))

    def arguments(self) -> dict[str, JsonValue]:
        """What `main` gets: all but the `init` ones."""
        return {item.key: item.value for item in self.items if not item.init}

    def environment(self) -> dict[str, str]:
        """What the environment gets: the `init` ones, as strings (null becomes empty)."""
        return {item.key: _env_text(item.value) for item in self.items if item.init}

    @property
    def size(self) -> int:
        """Bytes of all keys and of all values as compact JSON, which OpenWhisk limits to 1 MiB."""
        return sum(len(item.key.encode()) + len(jsontext.dumps(item.value)) for item in self.items)


def check_size(what: str, parameters: Parameters | None, limits: Limits) -> None:
    """Raise `TooLarge` above OpenWhisk's limit for the parameters or annotations of an entity."""
    if parameters is not None and (size := parameters.size) > limits.max_parameter_size:
        raise TooLarge(f"{what} larger than allowed: {size} > {limits.max_parameter_size} bytes.")


def _is_parameter(item: object) -> bool:
    """Whether it has a key and a value; the value alone may be null."""
    return (
        isinstance(item, dict)
        and "value" in item
        and isinstance(item.get("key"), str)
        and isinstance(item.get("init", False), bool)
        and isinstance(item.get("encryption", ""), str)
    )


def _env_text(value: JsonValue) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else jsontext.dumps(value).decode()
