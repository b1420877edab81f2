"""Files that the configuration names, damaged: the gateway starts, says what is wrong, and does all else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.path.gateway import Gateway, until


@pytest.mark.parametrize("damage", [None, b"", b"\xff\xfe\x00", b"nonsense"])
def test_they_do_not_stop_the_start(damage: bytes | None, tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in ("key", "ca", "cert", "password")}
    for path in paths.values():
        if damage is not None:
            path.write_bytes(damage)
    made = Gateway(
        tmp_path / "g",
        f"""
[mqtt]
url = "mqtt://127.0.0.1:1"
[brokers.barn]
url = "mqtts://127.0.0.1:1"
ca_file = "{paths["ca"]}"
[brokers.mill]
url = "mqtts://127.0.0.1:1"
cert_file = "{paths["cert"]}"
key_file = "{paths["cert"]}"
[brokers.dairy]
url = "mqtt://127.0.0.1:1"
username = "x"
password_file = "{paths["password"]}"
[cloud]
url = "http://127.0.0.1:1"
auth_file = "{paths["key"]}"
""",
    ).start()
    try:
        for broker in ("barn", "mill", "dairy"):
            made.feed(broker, "mqtt/message", topic="in", broker=broker)

        def told() -> dict[str, str]:
            feeds = made.ok("GET", "/edgewhisk/status")["feeds"]
            return {feed["trigger"].rpartition("/")[2]: feed.get("last_error", "") for feed in feeds}

        until(lambda: "ca_file" in told()["barn"], what="the broker without an authority is told")
        until(lambda: "cert_file" in told()["mill"], what="the broker without a certificate is told")
        expected = (
            "Connect" if damage in (b"", b"nonsense") else "password_file"
        )  # any text may be a password
        until(lambda: expected.lower() in told()["dairy"].lower(), what="so is the one without a password")
        cloud = made.ok("GET", "/edgewhisk/status")["cloud"]
        assert cloud["state"] == "needs attention"
        assert f"auth_file: {paths['key']}" in cloud["last_error"]
        made.action("a", "function main(p) { return { done: true } }")
        assert made.ok("POST", "_/actions/a?blocking=true&result=true", {}) == {"done": True}
    finally:
        assert made.stop() == 0
