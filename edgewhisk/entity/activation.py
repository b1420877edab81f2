"""Activations: the record of one run, and how it is written down.

The stored text of a record is the document of the REST API plus `response.statusCode`, which the
API shows in lists only. On the hot path a record is spliced together from a template of the parts
that are the same for all runs of an action: 1 us instead of 10 us for building and dumping a dict.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.clock.offset import ClockOffset
from edgewhisk.entity.action import Action
from edgewhisk.entity.annotations.lane import NORMAL, lane_of
from edgewhisk.entity.exec import SEQUENCE, SequenceExec
from edgewhisk.entity.invocation.message import ActivationMessage, LogLine, Outcome, Status
from edgewhisk.entity.parameters import Parameters
from edgewhisk.errors import BadRequest

ID_LENGTH: Final = 32  # lower-case hex characters
ENGINE: Final = "edgewhisk"  # what runs native and system actions
LAST_DATE: Final = 253_402_300_799_999  # ms: the end of the year 9999, the last that has a date
_HEX: Final = re.compile(r"[0-9a-f]{32}")


def activation_id(text: str) -> str:
    """Return `text` if it is an activation id; raises `BadRequest` with OpenWhisk's text."""
    if len(text) != ID_LENGTH:
        raise BadRequest(f"Activation id length is {len(text)} but must be {ID_LENGTH}.")
    if not _HEX.fullmatch(text):
        raise BadRequest("The activation id is not valid.")
    return text


class Record(NamedTuple):
    """A finished activation as it is stored."""

    activation_id: str
    text: bytes  # one JSON object, without line breaks
    status: Status = Status.SUCCESS  # what stands in `text`, for who answers with it
    result: bytes = b"{}"
    lane: str = NORMAL  # of the buffer, unless it failed
    filed: tuple[str, str] | None = None  # namespace and name that lists find it by; None: see the text
    start: int = 0  # ms, where `filed` is known
    timing: ClockOffset = ClockOffset()  # of the clock that told the start, where `filed` is known


IN_TIME: Final = b',{"key":"timeout","value":false}'
_STATUSES: Final = {
    status: b'%b,"status":"%b","statusCode":%d'
    % (b"true" if status is Status.SUCCESS else b"false", status.encode(), status.code)
    for status in Status
}

_LIGHT: Final = 1000  # bytes of a template without annotations


class RecordTemplate:
    """Writes the records of one action, version, trigger and caller."""

    def __init__(
        self, action: Action, message: ActivationMessage, annotations: Sequence[Mapping[str, Any]]
    ) -> None:
        """Prepare the constant parts; use `of_action` or `of_composite`."""
        more = [{"key": "edge-trigger", "value": message.trigger}] if message.trigger else []
        if message.binding:
            more.append({"key": "binding", "value": message.binding})
        if message.cause:
            more.append({"key": "causedBy", "value": SEQUENCE})
        self.head = {
            "namespace": message.namespace,
            "name": action.name.name,
            "version": str(action.version),
            "subject": message.subject,
        }
        self.annotations = [*annotations, *more]
        self.lane = lane_of(action.annotations)
        self.filed = (message.namespace, index_key({**self.head, "annotations": self.annotations}))
        self._before = before(self.head)
        self._annotations = jsontext.dumps(self.annotations)[:-1]
        self.weight = _LIGHT + 2 * len(self._annotations)  # about the bytes that it keeps in memory

    @classmethod
    def of_action(cls, action: Action, message: ActivationMessage, engine: str) -> RecordTemplate:
        """For single runs; `engine` says what runs the action ("quickjs-ng 0.15")."""
        annotations = {
            "path": action.name.key,
            "kind": action.exec.kind,
            "limits": action.limits.to_json(),
            "edge-engine": engine,
        }
        return cls(action, message, Parameters.of(annotations).to_json())

    @classmethod
    def of_composite(cls, action: Action, message: ActivationMessage, memory: int) -> RecordTemplate:
        """For sequences and compositions; `memory`: greatest limit of the parts that ran (MB)."""
        annotations: dict[str, Any] = {
            "topmost": not message.cause,
            "path": action.name.key,
            "kind": SEQUENCE,
        }
        if memory:
            annotations["limits"] = {**action.limits.to_json(), "memory": memory}
        if not isinstance(action.exec, SequenceExec):
            annotations["conductor"] = True
        return cls(action, message, Parameters.of(annotations).to_json())

    def record(self, message: ActivationMessage, outcome: Outcome, timing: ClockOffset) -> Record:
        """The record of one run; `timing` is how the clock stands now."""
        more = b',{"key":"timeout","value":true}' if outcome.timed_out else IN_TIME
        if outcome.init_ms:
            more += b',{"key":"initTime","value":%d}' % outcome.init_ms
        logs = jsontext.dumps(log_lines(outcome.logs, timing)) if outcome.logs else b"[]"
        return self._write(message, outcome, None, logs, more, timing)

    def whole(
        self,
        message: ActivationMessage,
        outcome: Outcome,
        duration: int,
        parts: Sequence[str],
        timing: ClockOffset,
    ) -> Record:
        """The record of a sequence or composition.

        `outcome`: the last part's, between start and end of the whole; `duration` is the sum of the
        parts' (ms), `parts` their activation ids.
        """
        logs = b'["%b"]' % '","'.join(parts).encode() if parts else b"[]"
        return self._write(message, outcome, duration, logs, b"", timing)

    def _write(
        self,
        message: ActivationMessage,
        outcome: Outcome,
        duration: int | None,
        logs: bytes,
        more: bytes,
        timing: ClockOffset,
    ) -> Record:
        status, result = outcome.status, outcome.result
        start, end, at = outcome.start, outcome.end, message.at
        if timing.forward:  # the clock was set, perhaps while this waited or ran
            start, end, at = timing.straight(start), timing.straight(end), timing.straight(at)
        text = (
            b'%b%b","start":%d,"end":%d,"duration":%d,"response":{"result":%b,"success":%b%b},'
            b'"logs":%b,"annotations":%b%b,{"key":"waitTime","value":%d}'
            b',{"key":"edge-boot","value":["%b",%d]}],"publish":false%b}'
        ) % (
            self._before,
            message.activation_id.encode(),
            start,
            max(start, end),
            max(0, end - start) if duration is None else duration,
            result,
            _STATUSES[status],
            b',"size":%d' % len(result) if outcome.sized and not outcome.timed_out else b"",
            logs,
            self._annotations,
            more,
            max(0, start - at),
            timing.boot.encode(),
            start - timing.offset,
            b',"cause":"%b"' % message.cause.encode() if message.cause else b"",
        )
        return Record(message.activation_id, text, status, result, self.lane, self.filed, start, timing)


def before(head: Mapping[str, str]) -> bytes:
    """A record's text up to its id."""
    return jsontext.dumps(head)[:-1] + b',"activationId":"'


def unrunnable_record(
    message: ActivationMessage, status: Status, error: str, now: int, timing: ClockOffset
) -> Record:
    """The record of a message that could not be run at all, for example because its action is gone."""
    document = {
        "namespace": message.namespace,
        "name": message.action.name,
        "version": "0.0.1",
        "subject": message.subject,
        "activationId": message.activation_id,
        "start": now,
        "end": now,
        "duration": 0,
        "response": {
            "result": {"error": error},
            "success": False,
            "status": status,
            "statusCode": status.code,
        },
        "logs": [],
        "annotations": [
            {"key": "path", "value": message.action.key},
            {"key": "kind", "value": "unknown"},
            {"key": "edge-trigger", "value": message.trigger},
            stamp(now, timing),
        ],
        "publish": False,
    }
    return Record(message.activation_id, jsontext.dumps(document), status, jsontext.dumps({"error": error}))


def stamp(at: int, timing: ClockOffset) -> dict[str, Any]:
    """The annotation that says which boot a record belongs to, and how long after it it began."""
    return {"key": _STAMP, "value": [timing.boot, timing.up(at)]}


def log_lines(lines: Sequence[LogLine], timing: ClockOffset) -> list[str]:
    """Lines as OpenWhisk stores them: 30 columns of time, the stream, the text."""
    return [
        f"{rfc3339(timing.straight(line.at)):<30} {line.stream}: {text}"
        for line in lines
        for text in line.text.split("\n")
    ]


def rfc3339(at: int) -> str:
    """UTC time of `at` (ms) with nine digits of fraction, which `wsk --strip` relies on."""
    seconds, ms = divmod(at, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}000000Z"


def trigger_record(
    message: ActivationMessage, version: str, logs: Sequence[Mapping[str, Any]], timing: ClockOffset
) -> Record:
    """The record of a trigger fired over the API: its payload, and a log entry for each rule."""
    document = {
        "namespace": message.namespace,
        "name": message.action.name,
        "version": version,
        "subject": message.subject,
        "activationId": message.activation_id,
        "start": timing.straight(message.at),
        "response": {
            "result": jsontext.Fragment(message.payload),
            "success": True,
            "status": Status.SUCCESS,
            "statusCode": 0,
        },
        "logs": [jsontext.dumps(entry).decode() for entry in logs],
        "annotations": [stamp(message.at, timing)],
        "publish": False,
    }
    return Record(message.activation_id, jsontext.dumps(document), result=message.payload)


def document_of(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The document that `GET activations/ID` shows of a stored record."""
    document = {**stored, "annotations": _told(stored)}
    if isinstance(response := document.get("response"), dict):
        document["response"] = {key: value for key, value in response.items() if key != "statusCode"}
    return document


def listing_of(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The item of a list without `docs`: no response, no logs, `statusCode` on the top level."""
    document = {key: value for key, value in stored.items() if key not in _NOT_LISTED}
    document["annotations"] = _told(stored)
    response = stored.get("response")  # of another gateway's record anything
    if "end" in stored and isinstance(response, dict) and "statusCode" in response:
        document["statusCode"] = response["statusCode"]
    return document


def _told(stored: Mapping[str, Any]) -> list[Any]:
    """The annotations without the stamp, which is the gateway's own."""
    return [item for item in stored.get("annotations", ()) if _key(item) != _STAMP]


def _key(item: object) -> object:
    return item.get("key") if isinstance(item, dict) else None


_STAMP: Final = "edge-boot"
_NOT_LISTED: Final = frozenset({"response", "logs", "subject"})


def index_key(stored: Mapping[str, Any]) -> str:
    """The name that the list filter `name` finds a record by: `a`, `pkg/a` or `binding/a`."""
    annotations = {item["key"]: item["value"] for item in stored["annotations"]}
    path = annotations.get("binding")
    if isinstance(path, str):
        return f"{path.split('/')[-1]}/{stored['name']}"
    path = annotations.get("path")
    if isinstance(path, str) and path.count("/") == 2:
        return path.split("/", 1)[1]
    name: str = stored["name"]
    return name


_ID: Final = b'"activationId":"'
_START: Final = b'","start":'
_NAMESPACE: Final = b'{"namespace":"'


def id_of(text: bytes) -> str:
    """The activation id in a record's text."""
    at = text.find(_ID) + len(_ID)
    found = text[at : at + ID_LENGTH]
    if at >= len(_ID) and text.startswith(_NAMESPACE) and text.startswith(_START, at + ID_LENGTH):
        return found.decode()
    value: str = jsontext.loads(text)["activationId"]
    return value
