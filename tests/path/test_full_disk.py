"""A gateway on a disk that is full or read-only: it starts, serves what is there, and says what it cannot."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.base.process import state_directory, told
from edgewhisk.cli import main
from edgewhisk.errors import InstanceError, StorageError
from tests.path.gateway import Gateway, until
from tests.store.test_trouble import needs_root, tmpfs

FLOOR = 1_000_000  # bytes


class Small(Gateway):
    """A gateway whose state is on a disk of its own."""

    def __init__(self, folder: Path, disk: Path) -> None:
        super().__init__(folder, f'[buffer]\nmin_free_bytes = {FLOOR}\n[mqtt]\nurl = "mqtt://127.0.0.1:1"\n')
        state = disk / "state"
        shutil.move(folder / "state", state)
        (folder / "state").symlink_to(state)

    def serves(self) -> None:
        """What is here can be read, and that nothing more is taken is told."""
        assert {one["name"] for one in self.ok("GET", "_/actions")} == {"a"}
        assert {one["name"] for one in self.ok("GET", "_/triggers")} == {"often", "t"}
        assert self.ok("GET", "_/actions/a?code=true")["exec"]["code"]
        read = {"lifecycleEvent": "READ", "triggerName": "/_/often", "authKey": self.auth}
        found = self.ok("POST", "whisk.system/actions/alarms/interval?blocking=true&result=true", read)
        assert found["status"]["state"] == "running"
        assert self.count("a") == 5
        assert len(self.activations("a")) == 5
        refused = self.call("POST", "_/actions/a?blocking=true", {})
        assert refused.status == 507
        assert str(self.folder) not in refused.body["error"]
        assert (
            self.call("PUT", "_/actions/b", {"exec": {"kind": "nodejs:20", "code": "x" * 9999}}).status == 507
        )
        status = self.status()
        assert any("the disk takes nothing new" in line for line in status["incidents"]), status["incidents"]
        assert status["buffer"]["evicted"] == 0
        assert main(["status", "--config", str(self.config)]) == 0


def fill(file: Path) -> None:
    """Take all the space there is."""
    with file.open("wb", buffering=0) as filler:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while filler.write(bytes(size)) == size:
                    pass


@needs_root
def test_a_gateway_on_a_full_or_read_only_disk(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", 128 << 20) as disk:
        made = Small(tmp_path / "gateway", disk)
        try:
            made.start()
            made.action("a", "function main(p) { return p }")
            made.ok("PUT", "_/triggers/t", {})
            made.feed("often", "alarms/interval", minutes=600, maxTriggers=5)
            for number in range(5):
                made.ok("POST", "_/actions/a?blocking=true", {"n": number})
            assert made.stop() == 0
            fill(disk / "filler")
            made.start()
            made.serves()
            (disk / "filler").unlink()
            until(lambda: made.call("POST", "_/actions/a?blocking=true", {}).status == 200)
            fill(disk / "filler")  # while it runs
            until(lambda: made.call("POST", "_/actions/a", {}).status == 507)
            assert made.stop() == 0
            (disk / "filler").unlink()
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            made.start()
            refused = made.call("POST", "_/actions/a?blocking=true", {})
            assert (refused.status, "read-only" in refused.body["error"]) == (507, True)
            assert made.stop() == 0
        finally:
            made.kill()
        assert "Traceback" not in (made.folder / "log").read_text()


@needs_root
def test_a_first_start_on_a_full_disk_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tmpfs(tmp_path / "disk", 1 << 20) as disk:
        fill(disk / "filler")
        config = tmp_path / "edgewhisk.toml"
        config.write_text(f'state_dir = "{disk}/state"\n[api]\nport = 0\n')
        assert main(["run", "--config", str(config)]) == 1
        assert "the disk is full: free some space" in capsys.readouterr().err


# -- the same without being root ---------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("used", [False, True])
def test_a_state_directory_that_cannot_be_written_has_one_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, used: bool
) -> None:
    if used:
        with state_directory(tmp_path):
            pass
    real = os.open

    def refuse(path: Any, flags: int, *more: Any) -> int:
        if flags & os.O_RDWR:
            raise OSError(code, os.strerror(code), str(path))
        return real(path, flags, *more)

    monkeypatch.setattr(os, "open", refuse)
    with (
        state_directory(tmp_path),
        pytest.raises(InstanceError, match="another gateway"),
        state_directory(tmp_path),
    ):
        pass


def test_a_state_directory_that_cannot_be_made_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError) as error, state_directory(tmp_path / "new"):
        pass
    assert "read-only" in error.value.hint


def test_where_the_gateway_listens_need_not_be_written(tmp_path: Path) -> None:
    with told(tmp_path / "gone" / "url", "http://127.0.0.1:1") as trouble:
        assert "cannot be written" in trouble
    with told(tmp_path / "url", "http://127.0.0.1:1") as trouble:
        assert trouble == ""
        (tmp_path / "url").unlink()
