"""The device profiles of this gateway: finds the files and reads them."""

from __future__ import annotations

from edgewhisk.base import resources
from edgewhisk.config.loader import read_toml
from edgewhisk.device.profile import Profile, read
from edgewhisk.errors import ConfigError, Fault, FeedError, shown


def names() -> list[str]:
    """All profiles there are."""
    return [name.removesuffix(".toml") for name, _ in resources.every("devices", "*/*.toml")]


def load(name: str) -> Profile:
    """The profile `vendor/model`; raises `ConfigError` with all that is wrong with it."""
    known = names()
    if name not in known:
        from difflib import get_close_matches  # for a mistake only

        close = get_close_matches(name[:64], known, 3, 0.5) or [one for one in known if name and name in one]
        likely = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(known)}"
        problem = f"there is no profile {shown(name)}; {likely}"
        raise ConfigError((Fault("devices", "profile", problem, "edgewhisk device list"),))
    path = resources.find("devices", f"{name}.toml")
    return read(name, read_toml(path), str(path))


def of_transport(name: object, transport: str) -> Profile:
    """The profile of a device of the feed `transport`; raises `FeedError`."""
    if not isinstance(name, str):
        raise FeedError("profile must name the device, for example eastron/sdm120")
    try:
        profile = load(name)
    except ConfigError as error:
        raise FeedError(str(error)) from error
    if profile.transport != transport:
        raise FeedError(f"{name} is no {transport} device: use the {profile.transport} feed")
    return profile


def survey() -> tuple[list[Profile], list[Fault]]:
    """Every profile that is right, and what is wrong with the others: one that is broken stops no other."""
    found: list[Profile] = []
    faults: list[Fault] = []
    for name in names():
        try:
            found.append(load(name))
        except ConfigError as error:
            faults += error.faults
    lost = "is not in a vendor's folder, so nobody finds it"
    for name, path in resources.every("devices", "*.toml"):
        faults.append(Fault(str(path), "(file)", lost, f"devices/VENDOR/{name}"))
    return found, faults
