"""Records that another gateway sends, or somebody who has its key: nothing in them is believed. Pure.

The store finds its way in a record by the places of its keys, and lists and look-ups read some of its values.
A record that is taken is therefore written anew, as this gateway writes its own; what is none is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgewhisk import jsontext
from edgewhisk.entity.activation import LAST_DATE, activation_id
from edgewhisk.errors import BadRequest, MalformedContent

_TEXTS: Final = ("namespace", "name", "version", "subject", "activationId")
_TIMES: Final = ("start", "end", "duration")
_REST: Final = ("response", "logs", "annotations", "publish", "cause")
_NAMING: Final = ("path", "binding")  # annotations by which a record is filed


def taken(record: object) -> tuple[str, bytes]:
    """Returns the id and the text of a record; raises `MalformedContent` naming what is wrong with it."""
    if not isinstance(record, dict):
        raise MalformedContent("it must be an object")
    for key in ("namespace", "name", "activationId", "start"):
        if key not in record:
            raise MalformedContent(f"{key} is missing")
    for key in _TEXTS:
        if not isinstance(record.get(key, ""), str):
            raise MalformedContent(f"{key} must be text")
    for key in _TIMES:
        if not _is_time(record.get(key, 0)):
            raise MalformedContent(f"{key} must be milliseconds from 0 to {LAST_DATE}")
    try:
        found = activation_id(record["activationId"])
    except BadRequest as error:
        raise MalformedContent(error.message) from None
    whole = {
        **record,
        "logs": _logs(record),
        "annotations": _annotations(record),
        "response": _response(record),
    }
    known = {key: whole[key] for key in (*_TEXTS, *_TIMES, *_REST) if key in whole}
    return found, jsontext.dumps(known)


def _is_time(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LAST_DATE


def _logs(record: Mapping[str, Any]) -> list[str]:
    logs = record.get("logs", [])
    if not isinstance(logs, list) or not all(isinstance(line, str) for line in logs):
        raise MalformedContent("logs must be a list of texts")
    return logs


def _annotations(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    annotations = record.get("annotations")
    if not isinstance(annotations, list):
        raise MalformedContent("annotations must be a list")
    for one in annotations:
        if not isinstance(one, dict) or not isinstance(one.get("key"), str) or "value" not in one:
            raise MalformedContent("an annotation must have key and value")
        if one["key"] in _NAMING and not isinstance(one["value"], str):
            raise MalformedContent(f"annotation {one['key']} must be text")
    return annotations


def _response(record: Mapping[str, Any]) -> dict[str, Any]:
    response = record.get("response")
    if not isinstance(response, dict):
        raise MalformedContent("response must be an object")
    code = response.get("statusCode")
    return {**response, "statusCode": code if isinstance(code, int) else 0}
