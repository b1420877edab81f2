"""Metrics: right, in Prometheus's format, and each described."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.path.gateway import Gateway

README = (Path(__file__).parents[2] / "edgewhisk" / "api" / "README.md").read_text()


def scraped(made: Gateway, **headers: str) -> dict[str, dict[tuple[str, ...], float]]:
    answer = made.call("GET", "/metrics", **headers)
    assert answer.headers["content-type"].startswith("text/plain")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.body):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_activations_are_counted(made: Gateway) -> None:
    made.action("counted", "function main(p) { return p }")
    before = scraped(made)
    for n in range(3):
        made.ok("POST", "_/actions/counted?blocking=true", {"n": n})
    made.call("POST", "_/actions/counted?blocking=true", {"error": "x"})
    after = scraped(made)
    assert after["edgewhisk_activations_total"][("guest/counted", "success")] == 3
    assert after["edgewhisk_activations_total"][("guest/counted", "application error")] == 1
    runs = [each["edgewhisk_activation_duration_seconds_count"][()] for each in (before, after)]
    assert runs[1] - runs[0] == 4
    assert after["edgewhisk_http_requests_total"][("POST", "200")] >= 3
    assert after["edgewhisk_http_request_seconds_bucket"][("+Inf",)] > 4
    assert after["edgewhisk_buffer_activations"][()] >= 4
    assert after["edgewhisk_process_resident_bytes"][()] > 1e7
    assert after["edgewhisk_sandbox_ready"][("nodejs:20",)] == 1


def test_every_name_is_described(made: Gateway) -> None:
    answer = made.call("GET", "/metrics")
    names = {family.name for family in text_string_to_metric_families(answer.body)}
    assert sorted(name for name in names if f"`{name}" not in README) == []


def test_a_stranger_is_told_numbers_and_no_names(made: Gateway) -> None:
    made.action("private", "function main(p) { return p }")
    made.ok("POST", "_/actions/private?blocking=true", {})
    made.feed("hidden", "alarms/interval", minutes=60)
    runs = sum(scraped(made)["edgewhisk_activations_total"].values())
    text = made.call("GET", "/metrics", Authorization="").body
    assert not any(name in text for name in ("guest", "private", "hidden"))
    found = scraped(made, Authorization="")
    assert sum(found["edgewhisk_activations_total"].values()) == runs
    assert found["edgewhisk_process_resident_bytes"][()] > 1e7
    assert made.call("GET", "/metrics", Authorization="Basic eDp5").status == 401
