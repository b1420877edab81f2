"""Serial ports: which there are, and which one a name means."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import termios
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import serial
from serial import rs485
from serial.tools import list_ports

from edgewhisk.config.schema import SerialConfig
from edgewhisk.device.profile import Line, Profile
from edgewhisk.errors import FeedError, shown

BY_ID: Final = Path("/dev/serial/by-id")
BY_PATH: Final = Path("/dev/serial/by-path")
USB: Final = "usb:"
_PARITIES: Final = {"none": "N", "even": "E", "odd": "O", "mark": "M", "space": "S"}


class FoundPort(NamedTuple):
    """One port of this machine."""

    path: str
    by_id: str  # the lasting name below /dev/serial/by-id, if it has one that is its own
    by_path: str  # the name of the socket that it is plugged into, below /dev/serial/by-path
    usb: str  # "1a86:7523", or "" if it is no USB device
    serial_number: str
    product: str

    @property
    def lasting(self) -> str:
        """The name to configure: one that survives renumbering, if there is one."""
        return self.by_id or self.by_path or self.path


def found() -> list[FoundPort]:
    """All ports of this machine. Reads files of the kernel: not for the event loop."""
    ids, paths = _links(BY_ID), _links(BY_PATH)
    every = [
        FoundPort(
            port.device,
            ids.get(os.path.realpath(port.device), ""),
            paths.get(os.path.realpath(port.device), ""),
            f"{port.vid:04x}:{port.pid:04x}" if port.vid is not None else "",
            port.serial_number or "",
            port.product or "",
        )
        for port in sorted(list_ports.comports())
        if port.vid is not None or not port.device.startswith("/dev/ttyS")
    ]
    # Twins without numbers share one name by id, which leads to whichever came last.
    alike = Counter((port.usb, port.serial_number) for port in every)
    return [
        port._replace(by_id="") if port.usb and alike[port.usb, port.serial_number] > 1 else port
        for port in every
    ]


def _links(folder: Path) -> dict[str, str]:
    """The links of a folder, by where they lead."""
    return {str(link.resolve()): str(link) for link in folder.iterdir()} if folder.is_dir() else {}


def guesses(port: FoundPort, known: Sequence[Profile]) -> list[str]:
    """The profiles whose `[match]` fits a port: a chip's number alone says little, so there may be many."""
    fitting = []
    for profile in known:
        match = profile.match
        named = match.product is not None and match.product.search(port.product)
        if named or (port.usb and port.usb in match.usb):
            fitting.append((not named, profile.name))  # what the product's name says comes first
    return [name for _, name in sorted(fitting)]


def obstacle(path: str) -> str:
    """Why this user cannot open a port, "" if he can. Does not open it, as that resets an Arduino."""
    return "" if os.access(path, os.R_OK | os.W_OK) else problem(PermissionError(13, "Permission denied"))


def check_name(path: str) -> str:
    """A path below /dev or `usb:VENDOR:PRODUCT[:SERIAL]`; raises `FeedError`."""
    if path.startswith(USB):
        parts = path.split(":")
        if len(parts) in (3, 4) and all(len(part) == 4 for part in parts[1:3]):
            return path
        raise FeedError(f"port {shown(path)}: write usb:VENDOR:PRODUCT[:SERIAL], for example usb:1a86:7523")
    normal = os.path.normpath(path)
    if not normal.startswith("/dev/"):
        raise FeedError(f"port {shown(path)} is neither a [serial.NAME] section, nor usb:..., nor below /dev")
    return normal


def locate(path: str) -> str:
    """The device file of a port now; raises `FileNotFoundError`. Not for the event loop."""
    if not path.startswith(USB):
        return path
    _, vendor, product, *number = path.split(":", 3)
    wanted = f"{vendor}:{product}".lower()
    fitting = [
        port for port in found() if port.usb == wanted and (not number or port.serial_number == number[0])
    ]
    if not fitting:
        raise FileNotFoundError(2, "no such USB device", path)
    if len(fitting) > 1:
        raise FileNotFoundError(2, _several(fitting), path)
    return fitting[0].path


def _several(fitting: Sequence[FoundPort]) -> str:
    """What to do where a name fits several devices."""
    names = ", ".join(port.lasting for port in fitting)
    numbers = Counter(port.serial_number for port in fitting)
    if all(number and count == 1 for number, count in numbers.items()):
        known = ", ".join(numbers)
        return f"several devices fit ({names}): add the serial number, one of {known}"
    return (
        f"several devices fit ({names}) that no serial number tells apart: "
        f"name the one meant by its socket, below {BY_PATH}"
    )


def line_of(line: Line, section: SerialConfig | None) -> Line:
    """What the profile says, or the section where it says otherwise."""
    if section is None:
        return line
    return Line(
        section.baudrate or line.baudrate,
        section.bytesize or line.bytesize,
        section.parity or line.parity,
        section.stopbits or line.stopbits,
        section.flow or line.flow,
        section.rs485 or line.rs485,
        line.quiet,
    )


def connect(path: str, line: Line) -> serial.Serial:
    """Open a port for us alone; may block for a while on odd devices. Raises `OSError`."""
    try:
        device = serial.Serial(
            locate(path),
            line.baudrate,
            bytesize=line.bytesize,
            parity=_PARITIES[line.parity],
            stopbits=line.stopbits,
            rtscts=line.flow == "rtscts",
            xonxoff=line.flow == "xonxoff",
            timeout=0,
            exclusive=True,
        )
    except termios.error as error:
        raise OSError(22, f"the driver refuses these settings ({error})") from error
    try:
        settle(device, line)
    except OSError:
        device.close()
        raise
    return device


def settle(device: serial.Serial, line: Line) -> None:
    """What is set on an open port; raises `OSError`."""
    try:
        # pyserial's lock binds only programs that ask for it; this one makes every other open fail.
        fcntl.ioctl(device.fileno(), termios.TIOCEXCL)
        if device.rtscts != (line.flow == "rtscts"):
            device.rtscts = line.flow == "rtscts"
        if device.xonxoff != (line.flow == "xonxoff"):
            device.xonxoff = line.flow == "xonxoff"
    except termios.error as error:
        raise OSError(22, f"the driver refuses these settings ({error})") from error
    try:
        if line.rs485:
            device.rs485_mode = rs485.RS485Settings()
    except (ValueError, OSError, termios.error) as error:
        raise OSError(22, f"the driver has no RS-485 mode ({error})") from error


def discard_output(device: serial.Serial) -> None:
    """Forget what was written and did not go out.

    Else closing waits up to 30 s for a wedged device to take it.
    """
    with contextlib.suppress(OSError, termios.error):
        termios.tcflush(device.fileno(), termios.TCOFLUSH)


def is_absent(error: BaseException) -> bool:
    """Whether there is no such port now: looking for it again costs next to nothing."""
    return getattr(error, "errno", None) in (errno.ENOENT, errno.ENXIO, errno.ENODEV)


def problem(error: Exception) -> str:
    """What went wrong with a port, and what to do."""
    number = getattr(error, "errno", None)
    text = getattr(error, "strerror", None) or str(error)
    if isinstance(error, ConnectionError | serial.SerialException) and number:
        text = os.strerror(number)  # asyncio's and pyserial's own texts hide it
    if number == 13:
        return f"{text}: the service's user must be in the group dialout"
    if number in (11, 16) or "exclusively" in str(error):
        return "another program has the port open (fuser shows which)"
    return text
