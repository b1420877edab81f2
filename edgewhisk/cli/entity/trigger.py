"""Triggers: create, update, get, delete, fire, list; and the feeds that fire them.

edgewhisk trigger create boiler --feed /whisk.system/mqtt/message -p topic 'boiler/+/temperature'
edgewhisk trigger create hourly --feed /whisk.system/alarms/alarm -p cron '0 * * * *'
edgewhisk trigger update hourly -p cron '30 * * * *'
edgewhisk trigger get boiler
edgewhisk trigger delete boiler
edgewhisk trigger fire boiler -p celsius 41
edgewhisk trigger list
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from edgewhisk.cli.arguments import (
    UsageError,
    keyed,
    mapping,
    pairs_option,
    parameter_options,
    path_of,
    qualified,
    valued,
)
from edgewhisk.cli.client import ApiClient, ApiError
from edgewhisk.cli.entity.entity import EntityCommands, listing, named, perform, shown, tabled, told
from edgewhisk.cli.output import document, done, note

__all__ = ["options", "perform"]


def options(parser: argparse.ArgumentParser) -> None:
    """All verbs of triggers."""
    noun = EntityCommands(parser)
    create = noun.verb("create", _create, "create a trigger, with or without a feed")
    create.add_argument("name")
    create.add_argument("-f", "--feed", help="what fires it: /whisk.system/mqtt/message")
    parameter_options(create)
    _apart(create)
    update = noun.verb("update", _update, "change a trigger, or the parameters of its feed")
    update.add_argument("name")
    parameter_options(update)
    _apart(update)
    noun.get(_get, "show a trigger, and the state of its feed")
    noun.verb("delete", _delete, "delete a trigger and its feed").add_argument("name")
    fire = noun.verb("fire", _fire, "fire a trigger")
    fire.add_argument("name")
    parameter_options(fire, annotations=False)
    noun.list(_list, "list triggers")


def _apart(parser: argparse.ArgumentParser) -> None:
    """`-F` and `-T`: parameters of the feed and of the trigger, each for itself."""
    pairs_option(parser, "-F", "--feed-param", "parameter of the feed")
    pairs_option(parser, "-T", "--trigger-param", "parameter of the trigger")


def _split(given: argparse.Namespace, *, has_feed: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters of the feed, and of the trigger: `-p` is for the feed where there is one."""
    for_feed, own = mapping(given.feed_param), mapping(given.trigger_param)
    if not for_feed and not own:
        given_ = mapping(given.param)
        return (given_, {}) if has_feed else ({}, given_)
    if given.param:
        raise UsageError("-F and -T cannot be combined with -p and -P", exit_code=149)
    if for_feed and not has_feed:
        raise UsageError(
            "a trigger without a feed has no parameters of a feed", hint="--feed, or -T", exit_code=149
        )
    return for_feed, own


def lifecycle(api: ApiClient, feed: str, trigger: str, event: str, parameters: Mapping[str, Any]) -> Any:
    """Tell a feed action about a trigger; its result. What it ignored is said to the person."""
    envelope = {"lifecycleEvent": event, "triggerName": qualified(trigger), "authKey": api.target.auth}
    body = {**parameters, **envelope}
    try:
        found = api.post(path_of(feed, "actions"), body, blocking=True, result=True)
    except ApiError as error:
        told, hint = _refusal(error)
        raise error.saying(f"feed {feed}: {told}", hint) from error
    warnings = found.get("warnings") if isinstance(found, dict) else None
    for line in warnings if isinstance(warnings, list) else ():
        note(f"feed {feed}: {line}")
    return found


def _refusal(error: ApiError) -> tuple[str, str]:
    """What a feed action says is wrong, and what to do; alarms tell it as OpenWhisk's do: as an object."""
    told = error.body.get("error") if isinstance(error.body, dict) else None
    if isinstance(told, dict) and "error" in told:
        return str(told["error"]), str(told.get("hint") or error.hint)
    return str(told or error), error.hint


def feed_of(found: Mapping[str, Any]) -> str | None:
    """The feed that a trigger's annotation names."""
    name = valued(found["annotations"]).get("feed")
    return qualified(name) if isinstance(name, str) and name else None


def _create(given: argparse.Namespace, api: ApiClient) -> int:
    annotations = mapping(given.annotation)
    parameters, own = _split(given, has_feed=bool(given.feed))
    path = path_of(given.name, "triggers")
    body: dict[str, Any] = {"parameters": keyed(own)} if own else {}
    if given.feed:
        annotations["feed"] = qualified(given.feed)
    if annotations:
        body["annotations"] = keyed(annotations)
    with named(f"create trigger '{given.name}'"):
        found = api.put(path, body, overwrite=False)
        if given.feed:
            try:
                lifecycle(api, qualified(given.feed), given.name, "CREATE", parameters)
            except ApiError:
                api.delete(path)
                raise
    return told(given, found, f"created trigger {given.name}")


def _update(given: argparse.Namespace, api: ApiClient) -> int:
    path = path_of(given.name, "triggers")
    annotations = mapping(given.annotation)
    with named(f"update trigger '{given.name}'"):
        found = api.find(path)
        feed = feed_of(found) if found else None
        parameters, own = _split(given, has_feed=bool(feed))
        if feed and parameters:
            lifecycle(api, feed, given.name, "UPDATE", parameters)
        body: dict[str, Any] = {"parameters": keyed(own)} if own else {}
        if annotations:
            kept = {"feed": feed} if feed else {}
            body["annotations"] = keyed({**kept, **annotations})
        found = api.put(path, body, overwrite=True)
    return told(given, found, f"updated trigger {given.name}")


def _get(given: argparse.Namespace, api: ApiClient) -> int:
    with named(f"get trigger '{given.name}'"):
        found = api.get(path_of(given.name, "triggers"))
        feed = feed_of(found)
        if feed:
            found["feed"] = lifecycle(api, feed, given.name, "READ", {})
    if given.summary:
        print(f"trigger /{found['namespace']}/{found['name']}")
        return 0
    return shown(given, found, "trigger")


def _delete(given: argparse.Namespace, api: ApiClient) -> int:
    path = path_of(given.name, "triggers")
    with named(f"delete trigger '{given.name}'"):
        feed = feed_of(api.get(path))
        if feed:
            try:
                lifecycle(api, feed, given.name, "DELETE", {})
            except ApiError as error:
                if error.code != 502:  # a feed that does not know the trigger need not keep it
                    raise
        found = api.delete(path)
    return told(given, found, f"deleted trigger {given.name}")


def _fire(given: argparse.Namespace, api: ApiClient) -> int:
    with named(f"fire trigger '{given.name}'"):
        found = api.post(path_of(given.name, "triggers"), mapping(given.param))
    if given.json:
        document(found)
    elif found:
        done(f"triggered /_/{given.name.lstrip('/')} with id {found['activationId']}")
    else:
        done(f"triggered /_/{given.name.lstrip('/')}; no active rule, so nothing was started")
    return 0


def _list(given: argparse.Namespace, api: ApiClient) -> int:
    with named("list triggers"):
        found = listing(api, given, "triggers", given.where)
    return tabled(given, "triggers", found, rows)


def rows(found: list[dict[str, Any]]) -> list[list[str]]:
    """Name, visibility and feed of each."""
    return [
        [
            f"/{item['namespace']}/{item['name']}",
            "shared" if item["publish"] else "private",
            feed_of(item) or "",
        ]
        for item in found
    ]
