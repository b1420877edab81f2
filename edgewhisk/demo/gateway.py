"""A gateway as a process of its own, with a state directory of its own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from pathlib import Path

from edgewhisk.controller.auth.subjects import key_file, read_key
from edgewhisk.entity.identity import AuthKey
from edgewhisk.errors import InstanceError

_START: float = 120.0  # seconds; the first start on a device compiles the engine
_STOP: float = 20.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class GatewayProcess:
    """One `edgewhisk run`."""

    def __init__(self, folder: Path, port: int, settings: str) -> None:
        """Keep everything below `folder`; `settings` is TOML behind state_dir and [api]."""
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self._config = folder / "edgewhisk.toml"
        self._log = folder / "log"
        self._process: asyncio.subprocess.Process | None = None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._config.write_text(
            f'state_dir = "{folder}/state"\n[api]\nport = {port}\n{settings}', encoding="utf-8"
        )

    @property
    def key(self) -> AuthKey:
        """Of its subject guest, after the first start."""
        return read_key(key_file(self.folder / "state"))

    async def start(self) -> None:
        """Start, and wait until it is ready; raises `InstanceError` with the end of its log."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "edgewhisk", "run", "--config", str(self._config),
                stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        assert self._process.stdout is not None
        line = b""
        with contextlib.suppress(TimeoutError):
            line = await asyncio.wait_for(self._process.stdout.readline(), _START)
        if b"ready" not in line:
            await self.stop()
            end = self._log.read_text(errors="replace")[-2000:]
            raise InstanceError(f"a gateway of the demo did not start:\n{end}")

    async def stop(self) -> None:
        """End it as systemd would: SIGTERM, and SIGKILL if it does not listen."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), _STOP)
        except TimeoutError:
            process.kill()
            await process.wait()
