"""Requests that a real OpenWhisk controller was asked, its answers, and how another one's are compared.

`answers.jsonl.gz` has a case a line, recorded from Apache OpenWhisk (August 2026): its requests, each with
method `m`, path `p`, body `b` (JSON) or `raw`, headers `h`, `auth`, and `see` where the record is compared,
too; and the answers, without ids, times and `code`. `decided.json` has what is meant to differ: prefix of the
case's name, step or -1, kind of difference, a regular expression on it, and why.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from tests.path.gateway import until

HERE: Final = Path(__file__).parent
STRANGER: Final = f"23bc46b1-71f6-4ed5-8c54-816aa4f8c500:{'x' * 64}"
COMPARED: Final = frozenset({
    "content-type", "location", "set-cookie", "x-a", "x-b", "x-c", "x-d", "www-authenticate", "allow",
    "access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers",
})  # fmt: skip
PASSING: Final = frozenset({"activationId", "start", "end", "updated", "duration", "cause"})
OWN: Final = frozenset({"waitTime", "initTime", "causedBy"})  # annotations that come and go
LONGEST: Final = 6000  # characters of an answer that is compared part by part

Json = Any


@cache
def cases() -> Mapping[str, list[dict[str, Json]]]:
    """All of them, by the first word of their names."""
    found: dict[str, list[dict[str, Json]]] = {}
    with gzip.open(HERE / "answers.jsonl.gz", "rt") as lines:
        for case in map(json.loads, lines):
            found.setdefault(case["name"].split()[0], []).append(case)
    return found


def decided(case: str, step: int, kind: str, difference: str) -> bool:
    """Whether a difference is meant."""
    return any(
        case.startswith(name) and at in (-1, step) and kind == what and re.search(pattern, difference)
        for name, at, what, pattern, _ in json.loads((HERE / "decided.json").read_text())
    )


class Player:
    """Asks a gateway what the controller was asked, as two subjects and as strangers."""

    def __init__(self, port: int, key: str, second: str) -> None:
        self._keys = {"key": key, "second": second, "bad": STRANGER, "none": ""}
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def close(self) -> None:
        """Part."""
        self._connection.close()

    def play(self, case: dict[str, Json]) -> Iterator[tuple[int, str, str]]:
        """Differences: step, kind and what it is. Begins with empty namespaces."""
        for auth in ("key", "second"):
            self._empty(auth)
        for at, (step, answer) in enumerate(zip(case["steps"], case["answers"], strict=True)):
            found = self._ask(step)
            if step.get("see"):
                found["record"] = self._record(found["id"], step.get("auth", "key"))
            if answer is not None and (difference := compared(answer, found)):
                yield at, *difference

    def _send(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> Json:
        self._connection.putrequest(method, f"/api/v1{path}", skip_accept_encoding=True)
        if body is not None:
            headers = {**headers, "Content-Length": str(len(body))}
        for key, value in headers.items():
            self._connection.putheader(key, value)
        self._connection.endheaders(body)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.will_close:
            self._connection.close()
        return answer.status, answer.getheaders(), data

    def _ask(self, step: dict[str, Json]) -> dict[str, Json]:
        body = step["raw"].encode("utf-8", "surrogatepass") if "raw" in step else None
        body = json.dumps(step["b"]).encode() if "b" in step else body
        headers = {"User-Agent": "answers", "Accept": "*/*"}
        if key := self._keys[step.get("auth", "key")]:
            headers["Authorization"] = "Basic " + base64.b64encode(key.encode()).decode()
        if body is not None:
            headers["Content-Type"] = "application/json"
        headers |= step.get("h", {})
        given = {name: value for name, value in headers.items() if value is not None}
        status, sent, data = self._send(step["m"], step["p"], given, body)
        kept: dict[str, list[str]] = {}
        for name, value in sent:
            if name.lower() in COMPARED:
                kept.setdefault(name.lower(), []).append(value)
        try:
            value = json.loads(data) if data else ""
        except (ValueError, RecursionError):
            value = data.decode("latin-1")[:600]
        identity = value.get("activationId", "") if isinstance(value, dict) else ""
        shown = lasting(value)
        text = json.dumps(shown)
        body_shown = shown if len(text) < LONGEST else text[:LONGEST]
        return {"status": status, "headers": kept, "body": body_shown, "id": identity}

    def _record(self, identity: str, auth: str) -> Json:
        found: dict[str, Json] = {}

        def stored() -> bool:
            found.update(self._ask({"m": "GET", "p": f"/namespaces/_/activations/{identity}", "auth": auth}))
            return bool(found["status"] == 200)

        if not identity:
            return None
        until(stored, 10, f"no record of {identity}")
        return found["body"]

    def _empty(self, auth: str) -> None:
        for kind in ("rules", "triggers", "actions", "packages"):
            listed = self._ask({"m": "GET", "p": f"/namespaces/_/{kind}?limit=200", "auth": auth})["body"]
            for one in listed:
                name = "/".join(quote(part) for part in [*one["namespace"].split("/")[1:], one["name"]])
                self._ask({"m": "DELETE", "p": f"/namespaces/_/{kind}/{name}?force=true", "auth": auth})


def lasting(value: Json, key: str = "") -> Json:
    """A value without what is another one each time."""
    if isinstance(value, list):
        if key == "annotations":
            kept = [lasting(item) for item in value if not _is_own(item)]
            return sorted(kept, key=lambda item: json.dumps(item, sort_keys=True))
        if key == "logs" and value and re.fullmatch(r"[0-9a-f]{32}", str(value[0])):
            return [f"<id> x {len(value)}"]
        return [_line(item) if key == "logs" else lasting(item) for item in value]
    if isinstance(value, dict):
        failed = isinstance(value.get("error"), str | dict)
        return {
            name: _stand_in(name) if name in PASSING and part is not None else lasting(part, name)
            for name, part in value.items()
            if not (name == "code" and failed)
        }
    whole = isinstance(value, float) and abs(value) < 1e15 and value == int(value)
    return int(value) if whole else value


def _stand_in(name: str) -> str:
    return "<id>" if name in ("activationId", "cause") else "<time>"


def _is_own(item: Json) -> bool:
    key = str(item.get("key", "")) if isinstance(item, dict) else ""
    return key.startswith("edge-") or key in OWN


def _line(text: str) -> str:
    """A log line without its time; what a trigger says of a rule without the activation."""
    if text.startswith("{"):
        try:
            told = json.loads(text)
        except ValueError:
            return text
        return json.dumps(
            {**told, **({"activationId": "<id>"} if "activationId" in told else {})}, sort_keys=True
        )
    return re.sub(r"^\d{4}-\d\d-\d\dT[\d:.]+Z +", "", text)


def compared(real: dict[str, Json], here: dict[str, Json]) -> tuple[str, str] | None:
    """The first kind of difference, and what it is."""
    if real["status"] != here["status"]:
        told = f"real {json.dumps(real['body'])[:160]}   here {json.dumps(here['body'])[:200]}"
        return "status", f"{real['status']} -> {here['status']}   {told}"
    if real["body"] != here["body"]:
        texts = [_only_error(one["body"]) for one in (real, here)]
        if all(texts):
            return "text", " -> ".join(json.dumps(text[:200]) for text in texts)
        alike = _shape(real["body"]) == _shape(here["body"])
        return "value" if alike else "shape", "; ".join(_parts(real["body"], here["body"], ""))[:400]
    for name in sorted({*real["headers"], *here["headers"]}):
        there, own = (
            [re.sub(" ", "", one).lower() for one in side["headers"].get(name, [])] for side in (real, here)
        )
        if there != own and (there or not name.startswith("access-control")):
            return "header", f"{name}: {there} -> {own}"
    if real.get("record") != here.get("record"):
        return "record", "; ".join(_parts(real.get("record"), here.get("record"), ""))[:400]
    return None


def _only_error(body: Json) -> str:
    text = body.get("error") if isinstance(body, dict) and len(body) == 1 else None
    return text if isinstance(text, str) else ""


def _shape(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _shape(part) for key, part in value.items()}
    return [_shape(part) for part in value] if isinstance(value, list) else type(value).__name__


def _parts(real: Json, here: Json, at: str) -> Iterator[str]:
    """What differs, part by part."""
    if isinstance(real, dict) and isinstance(here, dict):
        for key in [*real, *(key for key in here if key not in real)]:
            if key not in here or key not in real:
                where, value = ("missing", real[key]) if key in real else ("extra", here[key])
                yield f"{at}.{key}: {where} {json.dumps(value)[:80]}"
            elif real[key] != here[key]:
                yield from _parts(real[key], here[key], f"{at}.{key}")
    elif isinstance(real, list) and isinstance(here, list) and len(real) == len(here):
        for number, (one, other) in enumerate(zip(real, here, strict=True)):
            if one != other:
                yield from _parts(one, other, f"{at}[{number}]")
    else:
        yield f"{at}: {json.dumps(real)[:160]} -> {json.dumps(here)[:160]}"
