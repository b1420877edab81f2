"""What was accepted and is not run: never again, never in circles, never silently."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.path.gateway import Gateway, gateway, until

ENDLESS = "function main() { for (;;); }"
ECHO = "function main(p) { return {n: p.n} }"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Gateway]:
    one = Gateway(tmp_path / "edge")
    try:
        yield one.start()
    finally:
        one.stop()


def queue(made: Gateway, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """`edgewhisk queue ...`."""
    command = [sys.executable, "-m", "edgewhisk", "queue", *words, "--config", str(made.config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done
    return done


def letters(made: Gateway) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(queue(made, "show", "--json").stdout)["messages"]
    return found


def fire(made: Gateway, trigger: str, *numbers: int) -> None:
    for n in numbers:
        made.ok("POST", f"_/triggers/{trigger}-t", {"n": n})


def chain(made: Gateway, name: str, code: str, **more: Any) -> None:
    """A trigger, a rule and an action of one name."""
    made.action(name, code, **more)
    made.ok("PUT", f"_/triggers/{name}-t", {})
    ends = {"trigger": f"/_/{name}-t", "action": f"/_/{name}"}
    made.ok("PUT", f"_/rules/{name}-r", ends)


def runs(made: Gateway, name: str) -> list[tuple[str, Any]]:
    """Status and result of what ran, oldest first."""
    found = [one for one in made.activations(name) if "end" in one]
    return [(one["response"]["status"], one["response"]["result"]) for one in reversed(found)]


def is_begun(made: Gateway) -> bool:
    """Whether all is in the hands of workers, and what they must note is on disk."""
    status = made.status()
    return bool(
        status["invoker"]["workers"] and not status["invoker"]["queued"] and status["buffer"]["commits"]
    )


def test_what_must_not_run_twice_does_not_and_what_was_never_begun_does(made: Gateway) -> None:
    once = [{"key": "edge-delivery", "value": "at-most-once"}]
    slow = (
        "function main(p) { const end = Date.now() + p.n * 1000; while (Date.now() < end); return {n: p.n} }"
    )
    chain(made, "valve", slow, annotations=once)
    fire(made, "valve", 30, 0)  # the second waits behind the first
    until(lambda: made.status()["invoker"]["queued"] == 1)
    commits = made.status()["buffer"]["commits"]
    assert commits
    made.kill()
    made.start()
    until(lambda: len(runs(made, "valve")) == 2)
    (first, second) = sorted(runs(made, "valve"), key=lambda run: run[0], reverse=True)
    assert first[0] == "whisk internal error"
    assert "at-most-once: it is not run again" in first[1]["error"]
    assert second == ("success", {"n": 0})
    (letter,) = letters(made)
    assert (letter["trigger"], letter["topic"], letter["source"]) == (
        "/guest/valve-t",
        "/guest/valve",
        "queue",
    )
    assert made.status()["invoker"]["not_again"] == 1
    made.action("valve", ECHO, annotations=once)
    shown = queue(made, "show").stdout
    assert "at-most-once" in shown
    assert json.loads(queue(made, "retry", letter["id"], "--json").stdout) == {"failed": 0}
    until(lambda: ("success", {"n": 30}) in runs(made, "valve"))
    assert letters(made) == []


def test_an_event_in_whose_run_the_gateway_dies_is_put_aside(made: Gateway) -> None:
    chain(made, "killer", ENDLESS)
    chain(made, "good", ECHO)
    fire(made, "killer", 1)
    until(lambda: made.status()["invoker"]["workers"] == 1 and not made.status()["invoker"]["queued"])
    for life in range(3):  # the first run left no mark
        made.kill()
        made.start()
        until(lambda: is_begun(made), what=f"it runs in life {life}")
        assert runs(made, "killer") == []
        if life == 1:
            fire(made, "good", life)
            until(lambda: len(runs(made, "good")) == 1)  # the others go on
    made.kill()
    made.start()
    until(lambda: len(runs(made, "killer")) == 1)
    ((status, result),) = runs(made, "killer")
    assert (status, result["error"]) == (
        "whisk internal error",
        "The gateway died 3 times while the action was running for this event: it is not run again.",
    )
    (letter,) = letters(made)
    assert "died 3 times" in letter["reason"]
    assert made.status()["invoker"]["poison"] == 1
    queue(made, "drop", letter["id"])
    assert letters(made) == []


def test_events_of_an_action_that_fails_always_wait_until_it_is_mended(made: Gateway) -> None:
    chain(made, "broken", ENDLESS, limits={"timeout": 100})
    chain(made, "good", ECHO)
    fire(made, "broken", *range(9))
    until(lambda: made.status()["invoker"]["breakers"] != [])
    (breaker,) = made.status()["invoker"]["breakers"]
    assert (breaker["action"], breaker["state"], breaker["failures"]) == ("/guest/broken", "open", 5)
    fire(made, "good", 1)
    until(lambda: runs(made, "good") == [("success", {"n": 1})])
    status = made.status()
    assert (status["invoker"]["held"], status["buffer"]["unfinished"]) == (4, 4)
    made.action("broken", ECHO)
    until(lambda: len(runs(made, "broken")) == 9)
    assert [result["n"] for status, result in runs(made, "broken")[5:] if status == "success"] == [5, 6, 7, 8]
    # Who asks for it sees how it fails, whatever the circuit.
    made.action("broken", ENDLESS)
    for _ in range(6):
        answer = made.call("POST", "_/actions/broken?blocking=true", {})
        assert answer.body["response"]["status"] == "action developer error"


def test_errors_that_an_action_answers_with_open_nothing(made: Gateway) -> None:
    chain(made, "sorry", "function main(p) { return {error: 'no'} }")
    fire(made, "sorry", *range(12))
    until(lambda: len(runs(made, "sorry")) == 12)
    assert made.status()["invoker"]["breakers"] == []


def test_more_than_may_wait_goes_to_the_dead_letters_with_a_record(tmp_path: Path) -> None:
    with gateway(tmp_path, "max_queue = 12\n") as made:  # in [limits]
        chain(made, "broken", ENDLESS, limits={"timeout": 100})
        for n in range(5):
            fire(made, "broken", n)
        until(lambda: made.status()["invoker"]["breakers"] != [])
        fire(made, "broken", *range(5, 12))
        until(lambda: made.status()["invoker"]["held"] == 3)  # a quarter of the room
        until(lambda: len(runs(made, "broken")) == 9)
        assert [run[0] for run in runs(made, "broken")].count("whisk internal error") == 4
        found = letters(made)
        assert [json.loads(base64.b64decode(one["payload"]))["n"] for one in found] == [
            8,
            9,
            10,
            11,
        ]
        assert "fails always" in found[0]["reason"]
        made.action("broken", ECHO)
        assert queue(made, "retry", "--all").returncode == 0
        until(lambda: len(runs(made, "broken")) == 16)
        oks = sorted(result["n"] for status, result in runs(made, "broken") if status == "success")
        assert oks == [5, 6, 7, 8, 9, 10, 11]


def test_wrong_words_are_told(made: Gateway) -> None:
    assert "ids are needed, or --all" in queue(made, "retry", code=1).stderr
    assert "ids are needed, or --all" in queue(made, "drop", "7", "--all", code=1).stderr
    assert "there is no dead letter 7" in queue(made, "retry", "7", code=1).stderr
    assert "there is no dead letter 7" in queue(made, "drop", "7", code=148).stderr
    for key, value in (("edge-delivery", "twice"), ("edge-priority", "urgent")):
        body = {
            "exec": {"kind": "nodejs:default", "code": ECHO},
            "annotations": [{"key": key, "value": value}],
        }
        answer = made.call("PUT", "_/actions/a", body)
        assert answer.status == 400
        assert key in answer.body["error"]
    answer = made.call("PUT", "_/triggers/t", {"annotations": [{"key": "edge-priority", "value": 1}]})
    assert (answer.status, "high, normal, low" in answer.body["error"]) == (400, True)


def test_the_flood_of_one_namespace_leaves_room_for_another(tmp_path: Path) -> None:
    made = Gateway(tmp_path, "max_queue = 20\n").start()  # in [limits]
    try:
        key = subject(made, "other")
        made.action("slow", ENDLESS, limits={"timeout": 60_000})

        def call(method: str, path: str, body: Any = None) -> Any:
            return made.call(method, path, body, Authorization=key)

        until(lambda: call("GET", "_/actions").status == 200, what="the gateway knows the subject")
        assert call("PUT", "_/actions/echo", {"exec": {"kind": "nodejs:default", "code": ECHO}}).status == 200
        refused = [made.call("POST", "_/actions/slow", {}).status for _ in range(40)].count(503)
        assert refused >= 15
        answer = call("POST", "_/actions/echo?blocking=true", {"n": 1})
        assert answer.body["response"]["result"] == {"n": 1}
        assert made.status()["invoker"]["namespaces"]["guest"] >= 1
    finally:
        made.kill()


def subject(made: Gateway, name: str) -> str:
    """A second subject; its Authorization header."""
    return f"Basic {base64.b64encode(made.subject(name).encode()).decode()}"
