"""Which ports there are, and opening one: for us alone, set as it was asked."""

from __future__ import annotations

import os
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from serial.tools import list_ports, list_ports_common

from edgewhisk.device.profile import Line
from edgewhisk.transport.serial import discovery
from tests.transport.serial.plugged import plugged


def test_twins_without_serial_numbers_are_named_by_their_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """udev gives both the same name by id: it leads to the one that came last."""
    twins = [list_ports_common.ListPortInfo(str(tmp_path / f"ttyUSB{number}")) for number in (0, 1)]
    for twin in twins:
        twin.vid, twin.pid = 0x1A86, 0x7523
    monkeypatch.setattr(list_ports, "comports", lambda: twins)
    for name, links in (("BY_ID", ["usb-1a86"]), ("BY_PATH", ["pci-usb-0:1", "pci-usb-0:2"])):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setattr(discovery, name, folder)
        for number, link in enumerate(links):
            (folder / link).symlink_to(tmp_path / f"ttyUSB{number}")
    sockets = [f"{tmp_path}/by_path/pci-usb-0:{number}" for number in (1, 2)]
    assert [port.lasting for port in discovery.found()] == sockets
    with pytest.raises(FileNotFoundError, match=f"{sockets[0]}, {sockets[1]}.*below {tmp_path}/by_path"):
        discovery.locate("usb:1a86:7523")
    twins.pop()
    assert [port.lasting for port in discovery.found()] == [f"{tmp_path}/by_id/usb-1a86"]


def test_a_port_that_refuses_its_settings_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise termios.error(22, "Invalid argument")

    with plugged(tmp_path / "p"), monkeypatch.context() as patch:
        patch.setattr(termios, "tcsetattr", refuse)
        with pytest.raises(OSError, match="driver refuses these settings"):
            discovery.connect(str(tmp_path / "p"), Line())


def test_what_is_set_is_set(tmp_path: Path) -> None:
    with plugged(tmp_path / "p"):
        device = discovery.connect(str(tmp_path / "p"), Line(115200, 8, "even", 2, "rtscts"))
        control, speed = termios.tcgetattr(device.fileno())[2], termios.tcgetattr(device.fileno())[5]
        assert speed == termios.B115200
        assert control & termios.CSTOPB
        assert control & termios.CRTSCTS
        device.close()


def test_two_programs_do_not_share_a_port(tmp_path: Path) -> None:
    with plugged(tmp_path / "p"):
        mine = discovery.connect(str(tmp_path / "p"), Line())
        with pytest.raises(OSError, match="lock") as caught:
            discovery.connect(str(tmp_path / "p"), Line())
        assert "another program" in discovery.problem(caught.value)
        # Nor does a program that asks for no lock get it; root may always.
        code = f"import os; os.setuid(65534); os.open({os.ttyname(mine.fileno())!r}, os.O_RDWR | os.O_NOCTTY)"
        if os.geteuid() == 0:
            Path(os.ttyname(mine.fileno())).chmod(0o666)
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
            assert "Device or resource busy" in done.stderr
        mine.close()
