"""Node-RED doing the same job: MQTT in, function, MQTT out. It isolates nothing and stores nothing.

Install it anywhere with `npm install node-red@5 node@22` and name the folder with --node-red.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path


def start(installed: Path, folder: Path, broker: int, http: int) -> subprocess.Popen[bytes]:
    """Start it with one flow on the broker's port."""
    function = "msg.payload = {seq: msg.payload.seq, fahrenheit: msg.payload.celsius * 1.8 + 32}; return msg;"
    broker_node = {"id": "b", "type": "mqtt-broker", "broker": "127.0.0.1", "port": str(broker),
                   "clientid": "node-red", "cleansession": True, "keepalive": "60",
                   "protocolVersion": "4"}  # fmt: skip
    flow = [
        {"id": "f", "type": "tab", "label": "bench"},
        broker_node,
        {"id": "in", "type": "mqtt in", "z": "f", "topic": "bench/in", "qos": "1", "datatype": "json",
         "broker": "b", "wires": [["fn"]]},
        {"id": "fn", "type": "function", "z": "f", "func": function, "outputs": 1, "wires": [["out"]]},
        {"id": "out", "type": "mqtt out", "z": "f", "topic": "bench/out", "qos": "1",
         "broker": "b", "wires": []},
    ]  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "flows.json").write_text(json.dumps(flow))
    settings = (
        f'module.exports = {{uiPort: {http}, uiHost: "127.0.0.1", flowFile: "flows.json", logging: {{}} }};'
    )
    (folder / "settings.js").write_text(settings)
    modern = installed / "node_modules" / "node" / "bin" / "node"
    command = [
        str(modern) if modern.exists() else "node",
        str(installed / "node_modules/node-red/red.js"),
        "-u",
    ]
    return subprocess.Popen(
        [*command, str(folder), "-s", str(folder / "settings.js")],
        stdout=subprocess.DEVNULL,
        env=dict(os.environ),
    )
