"""What the running gateway is doing: buffer, feeds, cloud, trouble.

edgewhisk status
edgewhisk status --json | jq .buffer
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from edgewhisk import jsontext
from edgewhisk.cli import NOT_RUNNING
from edgewhisk.cli.client import NOBODY, ApiClient, ApiError
from edgewhisk.cli.client import options as client_options
from edgewhisk.cli.endpoint import properties, target, this_gateway
from edgewhisk.cli.output import complain, fitted
from edgewhisk.cli.waiting import compiling
from edgewhisk.errors import StorageError

_PATIENCE = 5.0  # seconds
_WEEK = 7 * 86_400  # seconds
_LOSSES = ("evicted", "expired", "rejected", "refused")


def options(parser: argparse.ArgumentParser) -> None:
    """Which gateway, `--json`."""
    client_options(parser)


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Print it."""
    document = account(given, environment)
    if document is None:
        return NOT_RUNNING
    print(
        jsontext.dumps(document, indent=True).decode() if given.json else "\n".join(fitted(_lines(document)))
    )
    return 0


def account(given: argparse.Namespace, environment: Mapping[str, str]) -> dict[str, Any] | None:
    """What the gateway of this machine says of itself, or that of `--apihost`; None if nobody answers.

    Where no gateway was ever started, the one of `.wskprops` is asked. Raises `EdgeWhiskError`.
    """
    try:
        gateway = this_gateway(given, environment, given.apihost, given.auth)
    except StorageError:
        if given.config is not None or not {"APIHOST", "AUTH"} <= properties(environment).keys():
            raise
        gateway = target(given, environment)
    api = ApiClient(gateway, verbose=given.verbose, patience=_PATIENCE)
    try:
        found: dict[str, Any] = api.get("/edgewhisk/status")
    except ApiError as error:
        if error.code or error.hint != NOBODY:
            raise
        complain(f"no gateway answers at {gateway.url}", "start it with: edgewhisk run")
        return None
    finally:
        api.close()
    return found


def _lines(document: Mapping[str, Any]) -> list[str]:
    buffer, invoker, cloud = document["buffer"], document["invoker"], document["cloud"]
    outcomes = ", ".join(f"{count} {name}" for name, count in invoker["outcomes"].items() if count)
    lines = [
        f"edgewhisk {document['version']} at {document['url']}, up {document['uptime']:.0f} s",
        f"actions   {outcomes or 'none run'}; {invoker['queued']} waiting",
        *_buffer(buffer, document["wear"]),
        f"clock     {_clock(document['clock'])}",
        f"cloud     {cloud['state']}{_because(cloud)}{_last_sync(cloud)}",
    ]
    sandboxes = {kind: found for kind, found in document["sandboxes"].items() if isinstance(found, dict)}
    lines.append("sandboxes " + ", ".join(f"{kind} {_state(found)}" for kind, found in sandboxes.items()))
    lines += map(_feed, document["feeds"])
    if more := document.get("feeds_left_out"):
        lines.append(f"feeds     {more} more, none of them in trouble unless all above are")
    lines += _broker(document.get("broker", {}))
    lines += _outbox(document["outbox"])
    lines += [
        f"trouble   {kind} gets a new instance for each call, which is slow: {found['problem']}"
        for kind, found in sandboxes.items()
        if found.get("problem")
    ]
    lines += [
        f"trouble   {one['action']} failed {one['failures']} times in a row; its events wait, "
        f"the next try is in {one['try_in']:.0f} s"
        for one in invoker["breakers"]
    ]
    if doubt := cloud.get("in_doubt"):
        lines.append(f"trouble   the cloud refuses {len(doubt)} activations, each alone: {doubt[0]} first")
    if (ends := cloud.get("key_ends")) and ends / 1000 - time.time() < _WEEK:
        lines.append(f"trouble   the key for the cloud ends at {_when(ends)}: add the next one to auth_file")
    dead = document["dead_letters"]
    gone = dead["unlisted"] + dead["evicted"] + dead["refused"]
    if dead["kept"] or gone:
        lines.append(f"trouble   {dead['kept']} dead letters, {gone} more not kept: edgewhisk queue show")
    if document["unruled"]:
        lines.append(
            f"trouble   {document['unruled']} events of triggers without an active rule: nothing ran"
        )
    if refused := document["sandboxes"]["memory_refused"]:
        most = document["sandboxes"]["memory_budget"] >> 20
        lines.append(
            f"trouble   actions were refused memory {refused} times: all together have {most} MB "
            "(limits.sandbox_memory)"
        )
    if invoker["unrecorded"]:
        lines.append(f"trouble   {invoker['unrecorded']} runs not recorded: {invoker['last_refusal']}")
    lines += [f"trouble   {line}" for line in document["incidents"]]
    return lines


def _state(sandbox: Mapping[str, Any]) -> str:
    return compiling(sandbox) if sandbox["state"] == "compiling" else str(sandbox["state"])


def _feed(feed: Mapping[str, Any]) -> str:
    """One feed: a line without an event for long may hang on a wrong topic or a dead device."""
    bad = feed.get("bad") or feed.get("garbage")
    more = f", {bad} refused" if bad else ""
    if "silent_seconds" in feed:
        quiet = f"{feed['silent_seconds']:.0f} s"
        more += f", last event {quiet} ago" if feed.get("last_event") else f", no event for {quiet}"
    return f"feed      {feed['trigger']} from {feed['feed']}: {feed.get('state')}{_because(feed)}{more}"


def _broker(broker: Mapping[str, Any]) -> Iterator[str]:
    """The embedded broker, if it runs."""
    if broker:
        waiting = (
            f"{broker['queued']} messages wait for them" if broker["queued"] else "nothing waits for them"
        )
        yield f"broker    {broker['clients']} clients, {broker['sessions']} known, {waiting}"
        if broker["dropped"]:
            yield f"trouble   {broker['dropped']} messages found no room at a client: edgewhisk broker show"
        if broker["problem"]:
            yield f"trouble   the broker acknowledges nothing: {broker['problem']}"


def _outbox(outbox: Mapping[str, Any]) -> list[str]:
    """Commands that wait for a device or were lost."""
    reasons = outbox["reasons"]
    lines = [
        f"commands  {count} wait for {target.removesuffix(':')} ({reasons.get(target, 'being tried')})"
        for target, count in outbox["waiting"].items()
    ]
    if outbox["lost"]:
        more = f", and {outbox['forgotten']} that are not listed any more" if outbox["forgotten"] else ""
        lines.append(f"trouble   {outbox['lost']} commands were lost{more}: edgewhisk queue show")
    return lines


def _buffer(buffer: Mapping[str, Any], wear: Mapping[str, Any]) -> Iterator[str]:
    """What is on disk, what had to go, and how long the card lasts."""
    age = f", the oldest of {_when(buffer['oldest'])}" if buffer["oldest"] else ""
    yield (
        f"buffer    {buffer['records']} activations, {buffer['unsynced']} not synced{age}, "
        f"{buffer['bytes'] / 1e6:.1f} MB, {buffer['evicted']} evicted, {buffer['expired']} expired, "
        f"{buffer['rejected']} rejected, {buffer['refused']} refused by the cloud, "
        f"{buffer['corrupt']} damaged"
    )
    for name, lane in buffer["lanes"].items():
        if lane["records"] or any(lane[why] for why in _LOSSES):
            lost = "".join(f", {lane[why]} {why}" for why in _LOSSES if lane[why])
            sizes = f"{lane['bytes'] / 1e6:.1f} of {lane['max_bytes'] / 1e6:.0f} MB"
            yield f"  {name:<9} {lane['records']} activations, {lane['unsynced']} not synced, {sizes}{lost}"
    life = f"{wear['card_years']:,.0f} years" if wear["card_years"] else "not known before 10 minutes"
    card = f"{wear['card_bytes'] / 1e9:.0f} GB, {wear['card_cycles']} cycles"
    yield (
        f"wear      {wear['written'] / 1e6:.1f} MB written in {wear['hours']:.1f} hours; "
        f"a card of {card}, at this pace: {life}"
    )


def _when(at: int) -> str:
    return datetime.fromtimestamp(at / 1000).astimezone().isoformat(" ", "seconds")


def _last_sync(cloud: Mapping[str, Any]) -> str:
    return f", last heard {_when(cloud['last_success'])}" if cloud.get("last_success") else ""


def _clock(clock: Mapping[str, Any]) -> str:
    stepped = f", set {clock['steps']} times" if clock["steps"] else ""
    never = f"; {clock['never_set']} earlier boots never knew the time" if clock["never_set"] else ""
    return f"{clock['now'][:19]}Z, {clock['sureness']}{stepped}{never}"


def _because(part: Mapping[str, Any]) -> str:
    return f" ({part['last_error']})" if part.get("last_error") else ""
