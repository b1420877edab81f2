"""The buffer of a real gateway, as its owner sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.path.gateway import Gateway, gateway, until

FAILS = "function main(p) { if (p.n % 3 == 0) throw new Error('no'); return {n: p.n}; }"


def edgewhisk(made: Gateway, *words: str) -> str:
    command = [sys.executable, "-m", "edgewhisk", *words, "--config", str(made.config)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def exported(made: Gateway, name: str) -> list[dict[str, Any]]:
    out = made.folder / name
    edgewhisk(made, "buffer", "export", str(out))
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_lanes_export_and_wear(tmp_path: Path) -> None:
    with gateway(tmp_path) as made:
        made.action("meter", FAILS, annotations=[{"key": "edge-lane", "value": "telemetry"}])
        refused = made.call(
            "PUT",
            "/api/v1/namespaces/_/actions/other",
            {
                "exec": {"kind": "nodejs:default", "code": FAILS},
                "annotations": [{"key": "edge-lane", "value": "x"}],
            },
        )
        assert refused.status == 400
        assert "must be one of telemetry, normal, errors" in refused.body["error"]
        for n in range(12):
            made.call("POST", "/api/v1/namespaces/_/actions/meter?blocking=true", {"n": n})
        until(
            lambda: made.status()["buffer"]["lanes"]["telemetry"]["records"] == 8, what="telemetry is there"
        )
        running = exported(made, "running.jsonl")
        lanes = [line["lane"] for line in running]
        assert {lane: lanes.count(lane) for lane in lanes} == {"errors": 4, "telemetry": 8}
        document = made.status()
        assert document["wear"]["written"] > 12 * 4096
        assert document["wear"]["card_years"] is None  # too soon to tell
        text = edgewhisk(made, "status")
        assert "12 activations, 12 not synced, the oldest of 20" in text
        assert "telemetry 8 activations" in text
        assert "written in 0.0 hours" in text
        made.kill()
        assert exported(made, "dead.jsonl") == running
        made.start()
        assert made.count("meter") == 12
        assert made.status()["wear"]["written"] >= document["wear"]["written"] - (1 << 20)
