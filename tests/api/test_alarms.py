"""What OpenWhisk's package alarms answered is what the alarms feeds answer, but for what is decided.

`alarms.jsonl.gz` has a call a line, recorded from upstream's own action (August 2026), with the answer of its
web action; `NOW` was the time. `decided_alarms.json` has what is meant to differ: a regular expression on the
call and what its case began with, one on the difference, and why.
"""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import pytest

from tests.path.gateway import Gateway, gateway, until

HERE: Final = Path(__file__).parent
NOW: Final = 1796044051021  # ms since 1970
CLOSE: Final = 10_000  # ms: a time is compared to that
DATED: Final = {"dateChanged", "dateChangedISO"}

Json = Any


@cache
def decisions() -> list[tuple[str, str, str]]:
    return [tuple(row) for row in json.loads((HERE / "decided_alarms.json").read_text())]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = 'concurrent_invocations = 1000\n[mqtt]\nurl = "mqtt://127.0.0.1:1"\n'
    with gateway(tmp_path_factory.mktemp("alarms"), settings) as found:
        yield found


def moved(text: str, by: int) -> str:
    """A call with its times moved by so many milliseconds."""

    def stamp(found: re.Match[str]) -> str:
        return str(int(found[0]) + by)

    def iso(found: re.Match[str]) -> str:
        then = datetime.fromisoformat(found[0]).timestamp() * 1000 + by
        return datetime.fromtimestamp(then / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")

    return re.sub(r"\b17960[0-9]{8}\b", stamp, re.sub(r"2026-11-30T[0-9:.]+Z", iso, text))


def lasting(answer: Json, now: int) -> Json:
    """An answer whose times stand as what they are off, roughly."""

    def stamp(found: re.Match[str]) -> str:
        return f"<{round((int(found[0]) - now) / CLOSE) * CLOSE} ms>"

    if isinstance(answer, dict):
        return {key: "<time>" if key in DATED else lasting(value, now) for key, value in answer.items()}
    if isinstance(answer, str):
        return re.sub(r"\b17[0-9]{11}\b", stamp, answer)
    return stamp(found) if (found := re.fullmatch(r"17[0-9]{11}", str(answer))) else answer


def differences(real: Json, here: Json, at: str = "") -> Iterator[str]:
    """What is not as there; keys of our own may stand beside."""
    if isinstance(real, dict) and isinstance(here, dict):
        for key, value in real.items():
            if key in here:
                yield from differences(value, here[key], f"{at}.{key}")
            else:
                yield f"{at}.{key}: {json.dumps(value)} -> missing"
    elif real != here:
        yield f"{at}: {json.dumps(real)} -> {json.dumps(here)}"


def asked(made: Gateway, trigger: str, feed: str, event: str, parameters: Json) -> Json:
    body = {**parameters, "lifecycleEvent": event, "triggerName": f"/_/{trigger}", "authKey": made.auth}
    answer = made.call("POST", f"whisk.system/actions/alarms/{feed}?blocking=true&result=true", body)
    return answer.body["error"] if answer.status == 502 else answer.body


def calls() -> list[dict[str, Json]]:
    with gzip.open(HERE / "alarms.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def is_decided(call: str, difference: str) -> bool:
    return any(re.search(one, call) and re.search(what, difference) for one, what, _ in decisions())


def played(made: Gateway, case: int, rows: list[dict[str, Json]]) -> list[tuple[int, str, str]]:
    """What is answered otherwise, and not decided."""
    made.trigger(f"t{case}", "alarms/alarm")
    now = int(time.time() * 1000)
    found = []
    for row in rows:
        given = json.loads(moved(json.dumps(row["params"]), now - NOW))
        real = json.loads(moved(json.dumps(row["answer"]["body"]).replace("TRIGGER ", "/guest/"), now - NOW))
        here = lasting(asked(made, f"t{case}", row["feed"], row["event"], given), now)
        call = f"{row['feed']} {row['event']} {json.dumps(row['params'])}"
        found += [(case, call, one) for one in differences(lasting(real, now), here)]
    said = rows[0]["feed"] + " " + json.dumps(rows[0]["params"])  # what is refused is not there later
    return [one for one in found if not is_decided(f"{one[1]} of {said}", one[2])]


def test_alarms_answer_as_openwhisk_s_package_does(made: Gateway) -> None:
    cases = [(case, list(rows)) for case, rows in groupby(calls(), key=lambda row: int(row["case"]))]
    with ThreadPoolExecutor(8) as threads:
        found = [one for each in threads.map(lambda case: played(made, *case), cases) for one in each]
    assert found == [], "\n".join(map(str, found))


def test_what_is_decided_has_a_reason_and_is_said_once() -> None:
    for _, _, why in decisions():
        assert len(why) > 10
    assert len({row[:2] for row in decisions()}) == len(decisions())


@pytest.mark.parametrize(
    ("deletes", "left"), [("true", ["t-a"]), (True, ["t-a"]), (" RULES ", []), ("false", ["t-a"])]
)
def test_an_alarm_that_fired_takes_its_trigger_along(made: Gateway, deletes: Json, left: list[str]) -> None:
    made.action("a", "function main(p) { return p }")
    made.trigger("t", "alarms/once")
    made.rule("t", "a")
    date = int(time.time() * 1000) + 1500
    given = {"date": date, "deleteAfterFire": deletes, "trigger_payload": [date]}
    assert asked(made, "t", "once", "CREATE", given)["status"] == "success"
    until(lambda: {"payload": [date]} in [one["response"]["result"] for one in made.activations("a")])
    gone = deletes != "false"
    until(lambda: made.call("GET", "_/triggers/t").status == (404 if gone else 200), what="the trigger goes")
    assert [rule["name"] for rule in made.ok("GET", "_/rules")] == left
    read = asked(made, "t", "alarm", "READ", {})
    if gone:
        assert read == {"error": "could not find trigger /guest/t in the database"}
    else:
        told = {"kind": "AUTO", "message": "Automatically disabled after firing once"}
        assert (read["status"]["active"], read["status"]["reason"]) == (False, told)
        made.ok("DELETE", "_/triggers/t")
    for rule in left:
        made.ok("DELETE", f"_/rules/{rule}")


@pytest.mark.parametrize("said", [None, False])
def test_a_firing_leaves_the_activation_of_the_trigger(made: Gateway, said: bool | None) -> None:
    made.action("seen", "function main(p) { return p }")
    notes = [] if said is None else [{"key": "edge-record", "value": said}]
    made.ok("PUT", f"_/triggers/fired{said}", {"annotations": notes})
    made.rule(f"fired{said}", "seen")
    given = {"date": int(time.time() * 1000) + 1000, "trigger_payload": {"who": f"clock {said}"}}
    asked(made, f"fired{said}", "once", "CREATE", given)

    def ran() -> list[Json]:
        found = made.activations("seen")
        return [one for one in found if one["response"]["result"] == {"who": f"clock {said}"}]

    until(lambda: bool(ran()), what="the action runs")
    if said is None:
        until(lambda: made.count("firedNone") == 1, what="the trigger's activation")
        (record,) = made.activations("firedNone")
        (line,) = map(json.loads, record["logs"])
        assert record["response"]["result"] == {"who": "clock None"}
        assert (line["statusCode"], line["success"], line["rule"], line["action"]) == (
            0,
            True,
            "guest/firedNone-seen",
            "guest/seen",
        )
        assert line["activationId"] == ran()[0]["activationId"]
        assert (record["version"], record["annotations"]) == ("0.0.1", [])
    fired = made.ok("POST", f"_/triggers/fired{said}", {"by": "hand"})["activationId"]
    assert made.call("GET", f"_/activations/{fired}").status == (200 if said is None else 404)
    assert made.count(f"fired{said}") == (2 if said is None else 0)


def test_an_annotation_that_says_neither_is_refused(made: Gateway) -> None:
    answer = made.call("PUT", "_/triggers/odd", {"annotations": [{"key": "edge-record", "value": "yes"}]})
    assert (answer.status, "'edge-record' must be true or false" in answer.body["error"]) == (400, True)


def test_what_means_nothing_is_ignored_with_a_warning(made: Gateway) -> None:
    made.trigger("w", "alarms/interval")
    told = asked(made, "w", "interval", "CREATE", {"minutes": 1, "timezone": "UTC", "startdate": 5})
    assert (told["triggerName"], told["status"], told["warnings"]) == (
        "/guest/w",
        "success",
        [
            "parameter 'timezone' means nothing to alarms/interval, and is ignored",
            "parameter 'startdate' means nothing to alarms/interval, and is ignored; "
            "did you mean 'startDate'?",
        ],
    )
    told = asked(made, "w", "once", "UPDATE", {"minutes": 2, "maxTriggers": 5})
    assert told["warnings"] == ["parameter 'maxTriggers' means nothing to alarms/interval, and is ignored"]
    assert "warnings" not in asked(made, "w", "alarm", "UPDATE", {"minutes": 3, "shape": {"every": 60}})
    assert asked(made, "w", "alarm", "READ", {})["config"]["shape"] == {"every": 60}
    assert asked(made, "w", "alarm", "UPDATE", {"shape": {"every": 61}})["status"] == "success"
    assert asked(made, "w", "alarm", "READ", {})["config"]["minutes"] == 3
    assert asked(made, "w", "alarm", "DELETE", {}) == {"triggerName": "/guest/w", "status": "success"}
