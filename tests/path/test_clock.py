"""A gateway without a battery: it starts in 1970, works, is cut off, and learns the time at last."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.cli import main
from edgewhisk.clock.offset import KNOWN
from tests.path.gateway import Gateway, gateway, until

SHIFT_1970 = 30 - round(time.time())  # seconds
HOUR = 3600


class Unbatteried(Gateway):
    """A gateway on a machine whose clock the test sets."""

    command = ("-m", "tests.path.wrong_clock")

    def clock(self, boot: str, shift: float) -> None:
        """What the machine's clock says from now on."""
        draft = self.folder / "clock.new"
        draft.write_text(json.dumps({"boot": boot, "shift": shift}))
        draft.rename(self.folder / "clock.json")

    def sureness(self) -> str:
        found: str = self.status()["clock"]["sureness"]
        return found


def mark(record: dict[str, Any]) -> str | None:
    return next((one["value"] for one in record["annotations"] if one["key"] == "edge-clock"), None)


def said(record: dict[str, Any]) -> float:
    """When the run was started, by the clock of this test."""
    found: float = record["response"]["result"]["sent"]
    return found


def invoke(made: Gateway, number: int, how: str = "?blocking=true") -> None:
    made.ok("POST", f"_/actions/say{how}", {"n": number, "sent": time.time() * 1000})


SAY = "function main(p) { console.log('hello'); return p }"


def test_what_was_done_before_the_time_was_known_reaches_the_cloud_with_the_right_time(
    tmp_path: Path,
) -> None:
    with gateway(tmp_path / "cloud") as cloud:
        key = tmp_path / "cloud.key"
        key.write_text(cloud.auth)
        made = Unbatteried(
            tmp_path / "edge",
            f'[cloud]\nurl = "http://127.0.0.1:{cloud.port}"\nauth_file = "{key}"\ninterval = 0.1\n',
        )
        try:
            course(made, cloud)
        finally:
            made.stop()


def course(made: Unbatteried, cloud: Gateway) -> None:
    made.clock("aaaaaaaa", SHIFT_1970)
    made.start()
    made.action("say", SAY)
    for number in range(3):
        invoke(made, number)
    first = made.activations("say")
    assert [mark(one) for one in first] == ["unset"] * 3
    assert all(one["start"] < KNOWN for one in first)
    assert any("was never set" in line for line in made.status()["incidents"])
    assert made.sureness() == "unset"
    made.kill()  # the power is cut, the machine starts again, in 1970 again

    made.clock("bbbbbbbb", SHIFT_1970 + HOUR)
    made.start()
    made.feed("daily", "alarms/alarm", cron="0 0 * * *")
    made.feed("often", "alarms/interval", seconds=1, trigger_payload={"sent": 0})
    made.rule("often", "say")
    (feed,) = (one for one in made.status()["feeds"] if one["trigger"] == "/guest/daily")
    assert feed["state"] == "waiting for the clock to be set"
    until(lambda: made.count("say") > 3, what="the interval goes on")
    made.ok("DELETE", "_/rules/often-say")
    for number in range(3, 6):
        invoke(made, number, "")  # answered 202, journalled
    until(lambda: made.activations("say")[0]["response"]["result"].get("n") == 5, what="all three have run")
    assert cloud.count("say") == 0  # the cloud is there, but waits for the clock

    now = time.time() * 1000
    made.clock("bbbbbbbb", 0)  # NTP
    until(lambda: made.sureness() == "set", what="the gateway notices")
    invoke(made, 6)
    records = [one for one in made.activations("say") if "n" in one["response"]["result"]]
    check(records, now)
    assert made.status()["clock"] | {"now": ""} == {
        "now": "", "sureness": "set", "boots": 2, "never_set": 1, "steps": 1, "last_error": "",
    }  # fmt: skip
    until(lambda: cloud.count("say") == made.count("say"), what="the cloud has all")
    check([one for one in cloud.activations("say") if "n" in one["response"]["result"]], now)

    counted = made.ok("GET", f"_/activations?count=true&name=say&since={round(now)}")
    assert counted == {"activations": 1}
    counted = made.ok("GET", f"_/activations?count=true&name=say&upto={KNOWN}")
    assert counted == {"activations": 3}

    invoke(made, 7)
    made.clock("bbbbbbbb", -HOUR)  # somebody sets it back: what comes next still comes next
    until(lambda: made.status()["clock"]["steps"] == 2, what="the gateway notices")
    invoke(made, 8)
    assert [one["response"]["result"]["n"] for one in made.activations("say")[:2]] == [8, 7]


def check(records: list[dict[str, Any]], now: float) -> None:
    """Newest first, whatever the clock said."""
    assert [one["response"]["result"]["n"] for one in records] == [6, 5, 4, 3, 2, 1, 0]
    assert [mark(one) for one in records] == [None, *["corrected"] * 3, *["unset"] * 3]
    for one in records[:4]:
        assert -50 < one["start"] - said(one) < 5000
        assert one["end"] - one["start"] == one["duration"] < 5000
        assert one["logs"][0].startswith(time.strftime("%Y-%m-%dT%H", time.gmtime(one["start"] / 1000)))
        (waited,) = (note["value"] for note in one["annotations"] if note["key"] == "waitTime")
        assert waited < 5000
    assert all(one["start"] < now for one in records[1:])


@pytest.mark.parametrize("known", [True, False])
def test_an_event_of_1970_that_a_crash_interrupted_runs_with_the_right_times(
    tmp_path: Path, known: bool
) -> None:
    """Known: the clock was set while the gateway was down, in the same boot. Else that boot is over."""
    made = Unbatteried(tmp_path / "edge")
    made.clock("aaaaaaaa", SHIFT_1970)
    made.start()
    try:
        made.action("slow", "function main() { for (;;); }", limits={"timeout": 4000})
        made.ok("POST", "_/actions/slow", {})
        made.kill()
        made.clock("aaaaaaaa" if known else "cccccccc", 0)
        made.start()
        until(lambda: made.count("slow") == 1, what="it ran at last")
        (record,) = made.activations("slow")
        (waited,) = (note["value"] for note in record["annotations"] if note["key"] == "waitTime")
        assert 0 <= waited < 60_000
        assert abs(record["start"] - time.time() * 1000) < 60_000
        assert mark(record) is None
    finally:
        made.stop()


def test_no_certificate_is_made_that_would_have_expired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edgewhisk.cli.gateway.tls.KNOWN", time.time() * 1000 + HOUR)
    assert main(["tls", "self-signed", "--out", str(tmp_path)]) == 1
    assert "would have expired" in capsys.readouterr().err
