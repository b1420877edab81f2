"""What `/metrics` says, in Prometheus's text format. Every name is described in README.md here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric

from edgewhisk.api.services import Measures
from edgewhisk.base.histogram import Histogram
from edgewhisk.entity.invocation.message import Status


def exposition(status: Mapping[str, Any], measures: Measures, *, named: bool) -> tuple[str, bytes]:
    """Content type and text, from the `status` document and the counters beside it.

    Not `named`: nothing that tells which namespaces, actions and triggers there are.
    """
    registry = CollectorRegistry(auto_describe=False)
    runs = _runs(measures.by_action) if named else _runs(_unnamed(measures.by_action))
    names = (*_feeds(status["feeds"]), *_queue(status["invoker"])) if named else ()
    registry.register(_Given([*_of_status(status), runs, *_of_measures(measures), *names]))
    return CONTENT_TYPE_LATEST, generate_latest(registry)


class _Given:
    """A collector of what was found."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _runs(by_action: Mapping[tuple[str, Status], int]) -> Metric:
    activations = CounterMetricFamily(
        "edgewhisk_activations", "Finished runs of actions.", labels=["action", "status"]
    )
    for (action, came_to), count in by_action.items():
        activations.add_metric([action, came_to.value], count)
    return activations


def _unnamed(by_action: Mapping[tuple[str, Status], int]) -> Mapping[tuple[str, Status], int]:
    """The runs of all actions together."""
    found: Counter[tuple[str, Status]] = Counter()
    for (_, came_to), count in by_action.items():
        found["", came_to] += count
    return found


def _of_measures(measures: Measures) -> Iterator[Metric]:
    yield _histogram("edgewhisk_activation_duration_seconds", "How long actions ran.", measures.durations)
    requests = CounterMetricFamily(
        "edgewhisk_http_requests", "Answered requests.", labels=["method", "status"]
    )
    for (method, code), count in measures.requests.items():
        requests.add_metric([method, str(code)], count)
    yield requests
    yield _histogram("edgewhisk_http_request_seconds", "Time to answer requests.", measures.latency)
    yield _histogram("edgewhisk_loop_lag_seconds", "How late the event loop is.", measures.loop_lag)


def _histogram(name: str, meaning: str, found: Histogram) -> Metric:
    return HistogramMetricFamily(name, meaning, buckets=found.buckets(), sum_value=found.sum)


def _of_status(status: Mapping[str, Any]) -> Iterator[Metric]:
    buffer, invoker, cloud = status["buffer"], status["invoker"], status["cloud"]
    gauges = {
        "edgewhisk_uptime_seconds": ("Time since start.", status["uptime"]),
        "edgewhisk_queue_messages": ("Accepted and not yet run.", invoker["queued"]),
        "edgewhisk_queue_held_messages": (
            "Of those, waiting for an action that fails always.",
            invoker["held"],
        ),
        "edgewhisk_queue_parked_messages": (
            "Of those, waiting for an engine to be compiled.",
            invoker["parked"],
        ),
        "edgewhisk_sources_held_back": ("Sources that wait for room.", invoker["held_back"]),
        "edgewhisk_dead_letters": ("Messages and events on the list.", status["dead_letters"]["kept"]),
        "edgewhisk_workers": ("Threads that run actions.", invoker["workers"]),
        "edgewhisk_buffer_activations": ("Activations on disk.", buffer["records"]),
        "edgewhisk_buffer_unsynced_activations": ("Of those, not at the cloud yet.", buffer["unsynced"]),
        "edgewhisk_buffer_unfinished_events": ("Journalled events without a record.", buffer["unfinished"]),
        "edgewhisk_buffer_bytes": ("Size of the activations on disk.", buffer["bytes"]),
        "edgewhisk_process_resident_bytes": ("Memory of the gateway.", status["process"]["rss"]),
        "edgewhisk_http_connections": ("Connected clients.", status["http"]["connections"]),
        "edgewhisk_cloud_up": (
            "1 while the cloud takes what is sent.",
            cloud["state"] in ("idle", "sending"),
        ),
        "edgewhisk_sandbox_memory_bytes": (
            "What sandboxes grew by, together.",
            status["sandboxes"]["memory_used"],
        ),
        "edgewhisk_sandbox_memory_budget_bytes": (
            "What they may grow by, together.",
            status["sandboxes"]["memory_budget"],
        ),
        "edgewhisk_clock_known": ("0 while the clock says 1970.", status["clock"]["sureness"] != "unset"),
    }
    for name, (meaning, value) in gauges.items():
        yield GaugeMetricFamily(name, meaning, float(value))
    counters = {
        "edgewhisk_buffer_written_bytes": ("Bytes written to the activation log.", buffer["written"]),
        "edgewhisk_buffer_commits": ("fdatasync calls of the activation log.", buffer["commits"]),
        "edgewhisk_buffer_evicted_activations": (
            "Dropped for space before they were synced.",
            buffer["evicted"],
        ),
        "edgewhisk_buffer_expired_activations": (
            "Too old before they were synced.",
            buffer["expired"],
        ),
        "edgewhisk_buffer_rejected_activations": ("Not taken by a full lane.", buffer["rejected"]),
        "edgewhisk_buffer_refused_activations": (
            "Refused by the cloud, which took others.",
            buffer["refused"],
        ),
        "edgewhisk_buffer_repaired_records": ("Records with a flipped bit put right.", buffer["repaired"]),
        "edgewhisk_buffer_corrupt_records": ("Damaged records that were skipped.", buffer["corrupt"]),
        "edgewhisk_unrecorded_activations": ("Runs whose record the disk refused.", invoker["unrecorded"]),
        "edgewhisk_inline_runs": ("Messages that were run on the event loop.", invoker["inline"]),
        "edgewhisk_worker_runs": ("Messages that were run by workers.", invoker["workers_ran"]),
        "edgewhisk_inline_slow": (
            "Messages that were too slow for the event loop.",
            invoker["fell_back_slow"],
        ),
        "edgewhisk_inline_failed": (
            "Messages that failed on the event loop.",
            invoker["fell_back_failed"],
        ),
        "edgewhisk_breakers_opened": ("Times that an action was left alone.", invoker["breakers_opened"]),
        "edgewhisk_poison_events": ("Put aside: the gateway died in their run.", invoker["poison"]),
        "edgewhisk_interrupted_events": ("At most once, so not run again.", invoker["not_again"]),
        "edgewhisk_spilt_events": ("Given up: too many waited for a failing action.", invoker["spilt"]),
        "edgewhisk_unburied_events": ("Not run, and the disk refused to note it.", invoker["unburied"]),
        "edgewhisk_dead_letters_unlisted": (
            "Refused messages that were counted, not kept.",
            status["dead_letters"]["unlisted"],
        ),
        "edgewhisk_dead_letters_evicted": ("Fell off the list.", status["dead_letters"]["evicted"]),
        "edgewhisk_unruled_events": ("Events whose trigger had no active rule.", status["unruled"]),
        "edgewhisk_refused_capabilities": (
            "What actions asked for without a grant.",
            status["sandboxes"]["refused"],
        ),
        "edgewhisk_sandbox_refused_memory": (
            "Growths of sandboxes that the memory of all was too small for.",
            status["sandboxes"]["memory_refused"],
        ),
        "edgewhisk_clock_steps": ("Times that the clock was set.", status["clock"]["steps"]),
        "edgewhisk_process_written_bytes": (
            "Bytes this process sent to the disk.",
            status["process"]["written"],
        ),
    }
    for name, (meaning, value) in counters.items():
        yield CounterMetricFamily(name, meaning, float(value))
    ready = GaugeMetricFamily("edgewhisk_sandbox_ready", "1 once a runtime is compiled.", labels=["runtime"])
    for kind, found in status["sandboxes"].items():
        if isinstance(found, dict):
            ready.add_metric([kind], float(found["state"] == "ready"))
    yield ready
    yield from _broker(status["broker"])


def _broker(told: Mapping[str, Any]) -> Iterator[Metric]:
    """Of the embedded broker; nothing without one."""
    if not told:
        return
    for key, name, meaning in (
        ("clients", "clients", "Clients that are connected."),
        ("sessions", "sessions", "Clients that are known."),
        ("queued", "queued_messages", "Messages that wait for clients."),
        ("queued_bytes", "queued_bytes", "Bytes of them."),
        ("retained", "retained_topics", "Topics whose last message is kept."),
        ("retained_bytes", "retained_bytes", "Bytes of them."),
    ):
        yield GaugeMetricFamily(f"edgewhisk_broker_{name}", meaning, float(told[key]))
    for key, name, meaning in (
        ("received", "received_messages", "Messages from clients."),
        ("sent", "sent_messages", "Messages to clients."),
        ("dropped", "dropped_messages", "Messages for which a client had no room."),
        ("expired", "expired_messages", "Messages that were too old."),
        ("retained_refused", "retained_refused_messages", "Messages for which there was no room."),
    ):
        yield CounterMetricFamily(f"edgewhisk_broker_{name}", meaning, float(told[key]))
    refused = CounterMetricFamily(
        "edgewhisk_broker_refused_connections", "Ended for a reason of the broker's.", labels=["reason"]
    )
    for reason, count in told["refused"].items():
        refused.add_metric([reason], float(count))
    yield refused


def _queue(invoker: Mapping[str, Any]) -> Iterator[Metric]:
    waiting = GaugeMetricFamily(
        "edgewhisk_queue_namespace_messages", "Waiting, of a namespace.", labels=["namespace"]
    )
    for namespace, count in invoker["namespaces"].items():
        waiting.add_metric([namespace], float(count))
    opened = GaugeMetricFamily(
        "edgewhisk_breaker_open", "1 while an action is left alone.", labels=["action"]
    )
    for breaker in invoker["breakers"]:
        opened.add_metric([breaker["action"]], 1.0)
    yield from (waiting, opened)


def _feeds(feeds: Iterable[Mapping[str, Any]]) -> Iterator[Metric]:
    running = GaugeMetricFamily(
        "edgewhisk_feed_running", "1 while a source serves.", labels=["trigger", "feed"]
    )
    full = GaugeMetricFamily(
        "edgewhisk_feed_full", "1 while a source is held back.", labels=["trigger", "feed"]
    )
    garbage = CounterMetricFamily(
        "edgewhisk_feed_refused_messages", "Malformed messages of a source.", labels=["trigger", "feed"]
    )
    for feed in feeds:
        labels = [feed["trigger"], feed["feed"]]
        running.add_metric(labels, float(feed.get("state") in ("running", "full")))
        full.add_metric(labels, float(feed.get("state") == "full"))
        garbage.add_metric(labels, float(feed.get("garbage") or 0))
    yield from (running, full, garbage)
