"""Devices that POST with a token, and letters that could not become events."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.path.gateway import MOSQUITTO, Gateway, gateway, mosquitto, until
from tests.path.publisher import publish

needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto"
)


def run(made: Gateway, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgewhisk", *words, "--config", str(made.config), "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def token(made: Gateway, trigger: str, device: str) -> str:
    done = run(made, "device", "token", "--trigger", trigger, "--device", device)
    return str(json.loads(done.stdout)["token"])


def test_a_device_posts_with_its_token_and_nothing_else(made: Gateway) -> None:
    made.action("posted", "function main(p) { return {c: p.c, device: p.device, told: p.device_} }")
    made.feed("posts", "http/post")
    made.rule("posts", "posted")
    mine, other = token(made, "posts", "greenhouse"), token(made, "elsewhere", "x")
    path = "/api/v1/devices/guest/posts"

    def post(body: Any, bearer: str, where: str = path) -> int:
        return made.call("POST", where, body, Authorization=bearer).status

    until(lambda: post({"c": 1}, f"Bearer {mine}") == 202)  # followed within a second
    assert made.call("POST", path, [{"c": 2}, {"c": 3}], Authorization=f"Bearer {mine}").body == {
        "accepted": 2
    }
    until(lambda: made.count("posted") == 3)
    results = [one["response"]["result"] for one in made.activations("posted")]
    assert sorted(one["c"] for one in results) == [1, 2, 3]
    assert {one["device"] for one in results} == {"greenhouse"}
    assert post({"c": 1}, "Bearer nonsense") == 401
    assert post({"c": 1}, "") == 401
    assert made.call("POST", path, {"c": 1}).status == 401  # a key is no token
    assert post({"c": 1}, f"Bearer {other}") == 403
    assert post({"c": 1}, f"Bearer {other}", "/api/v1/devices/guest/elsewhere") == 404
    for wrong in (b"{", 5, [5], [{"c": 1}] * 1001):
        assert post(wrong, f"Bearer {mine}") == 400
    assert post(b" " * (1 << 20) + b"{}", f"Bearer {mine}") == 413
    chunked = http.client.HTTPConnection("127.0.0.1", made.port, timeout=20)
    for size, status in ((2, 202), (40, 413)):  # of 64 KiB each, and no word of how many
        body = iter([b" " * 65_536] * size + [b'{"c":4,"device":"another"}'])
        with contextlib.suppress(ConnectionError):  # it may stop reading
            chunked.request("POST", path, body, {"Authorization": f"Bearer {mine}"}, encode_chunked=True)
        answer = chunked.getresponse()
        assert answer.status == status
        answer.read()
        chunked.close()
    until(lambda: made.count("posted") == 4)
    (last,) = [one for one in made.activations("posted") if one["response"]["result"]["c"] == 4]
    result = last["response"]["result"]
    assert (result["device"], result["told"]) == ("greenhouse", "another")  # the first as the token says
    assert made.call("GET", "_/triggers", Authorization=f"Bearer {mine}").status == 401
    feed = next(one for one in made.status()["feeds"] if one["feed"] == "http/post")
    assert (feed["delivered"], feed["garbage"]) == (4, 4)
    known = json.loads(run(made, "device", "tokens").stdout)
    (found,) = [one for one in known if one["device"] == "greenhouse"]
    assert mine not in json.dumps(known)
    assert run(made, "device", "untoken", found["id"]).returncode == 0
    until(lambda: post({"c": 1}, f"Bearer {mine}") == 401)


@needs_mosquitto
def test_a_poison_message_is_listed_retried_and_dropped(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path) as port,
        gateway(tmp_path / "e", f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n') as made,
    ):
        made.action("echo", "function main(p) { return {seen: p.seq || p.payload} }")
        made.feed("t", "mqtt/message", topic="in", format="cbor")  # and JSON comes
        made.rule("t", "echo")
        until(made.feeds_run)
        asyncio.run(publish(port, "in", 2, 0))
        until(lambda: made.status()["dead_letters"]["kept"] == 2)
        made.kill()  # perhaps before they were acknowledged, or even on disk: then they come again
        made.start()
        until(lambda: made.status()["dead_letters"]["kept"] == 2)
        shown = json.loads(run(made, "queue", "show").stdout)["messages"]
        assert {one["topic"] for one in shown} == {"in"}
        bodies = [json.loads(base64.b64decode(one["payload"])) for one in shown]
        assert sorted(body["seq"] for body in bodies) == [1, 2]  # each once
        assert "not CBOR" in shown[0]["reason"]
        assert run(made, "queue", "retry", shown[0]["id"]).returncode == 1
        asked = {"lifecycleEvent": "UPDATE", "triggerName": "/_/t", "authKey": made.auth, "format": "json"}
        made.ok("POST", "whisk.system/actions/mqtt/message?blocking=true", asked)
        assert run(made, "queue", "retry", shown[0]["id"]).returncode == 0
        until(lambda: made.count("echo") == 1)
        assert made.activations("echo")[0]["response"]["result"] == {"seen": bodies[0]["seq"]}
        assert run(made, "queue", "drop", "--all").returncode == 0
        assert made.status()["dead_letters"]["kept"] == 0
        assert run(made, "queue", "drop", "nothing").returncode != 0
        assert made.call("GET", "/edgewhisk/dead-letters", Authorization="").status == 401


def test_how_many_at_once_is_an_annotation_of_the_trigger(made: Gateway) -> None:
    def put(value: Any) -> int:
        body = {"annotations": [{"key": "edge-concurrency", "value": value}]}
        return made.call("PUT", "_/triggers/at-once?overwrite=true", body).status

    assert [put(value) for value in (1, 8, 0, 9, "2", True)] == [200, 200, 400, 400, 400, 400]
