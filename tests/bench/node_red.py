"""Node-RED doing the same job. It isolates nothing and stores nothing.

Install it anywhere with `npm install node-red@5 node@22 node-red-node-serialport` and name the folder with
--node-red. Its settings are its own, but that it asks nobody for updates and logs warnings only.
"""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.path.gateway import free_port

Node = dict[str, Any]
INSTALL = "npm install node-red@5 node@22 node-red-node-serialport"

JOB = (
    "const d = msg.payload; const f = Math.round((d.c * 9 / 5 + 32) * 100) / 100;"
    "msg.payload = {seq: d.seq, dev: d.dev, f: f, alarm: f > 104};"
)
C2F = f"{JOB} delete msg.topic; return msg;"
_ids = (f"n{number}" for number in itertools.count())


def broker(port: int, *, clean: bool = True) -> Node:
    """With a clean session, which is what Node-RED's editor proposes for a new broker."""
    return {"id": "broker", "type": "mqtt-broker", "broker": "127.0.0.1", "port": str(port),
            "clientid": "node-red", "cleansession": clean, "keepalive": "60", "protocolVersion": "4"}  # fmt: skip


def mqtt_in(topic: str, to: Node) -> Node:
    """A subscription at QoS 1 whose messages are parsed as JSON."""
    return _wired({"type": "mqtt in", "topic": topic, "qos": "1", "datatype": "json", "broker": "broker"}, to)


def function(code: str, to: Node | None = None) -> Node:
    return _wired({"type": "function", "func": code, "outputs": 1 if to else 0}, to)


def mqtt_out(topic: str, qos: int) -> Node:
    return _wired({"type": "mqtt out", "topic": topic, "qos": str(qos), "broker": "broker"}, None)


def serial_in(path: str, to: Node) -> tuple[Node, Node]:
    """A port at 115200 8N1 whose lines are text, and its settings."""
    port = {"id": next(_ids), "type": "serial-port", "serialport": path, "serialbaud": "115200",
            "databits": "8", "parity": "none", "stopbits": "1", "newline": "\\n", "bin": "false",
            "out": "char"}  # fmt: skip
    return port, _wired({"type": "serial in", "serial": port["id"]}, to)


def parsed(to: Node) -> Node:
    """Text to JSON."""
    return _wired({"type": "json", "property": "payload", "action": "obj"}, to)


def _wired(node: Node, to: Node | None) -> Node:
    return {"id": next(_ids), "z": "flow", **node, "wires": [[to["id"]] if to else []]}


class NodeRed:
    """One Node-RED."""

    def __init__(
        self, installed: Path, folder: Path, nodes: Sequence[Node], *, serial: bool = False, sink: str = ""
    ) -> None:
        """Write its flow into `folder`.

        The nodes for serial ports are loaded only if `serial`. `sink` is a JavaScript module that functions
        find as `global.get("sink")`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "log"
        flow = [{"id": "flow", "type": "tab", "label": "bench"}, *nodes]
        (folder / "flows.json").write_text(json.dumps(flow))
        self.port = free_port()
        settings = {
            "uiPort": self.port, "uiHost": "127.0.0.1", "flowFile": "flows.json", "credentialSecret": False,
            "telemetry": {"enabled": False, "updateNotification": False},
            "nodesDir": str(installed / "node_modules/node-red-node-serialport") if serial else [],
            "logging": {"console": {"level": "warn"}},
        }  # fmt: skip
        text = f"module.exports = {json.dumps(settings)};\n"
        if sink:
            (folder / "sink.js").write_text(sink)
            text += "module.exports.functionGlobalContext = {sink: require('./sink.js')};\n"
        (folder / "settings.js").write_text(text)
        modern = installed / "node_modules/node/bin/node"
        self._command = [
            str(modern) if modern.exists() else "node",
            str(installed / "node_modules/node-red/red.js"),
            *("-u", str(folder), "-s", str(folder / "settings.js")),
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> NodeRed:
        """Returns at once; the first answer tells that it runs."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
