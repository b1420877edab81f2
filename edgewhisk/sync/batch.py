"""Batches as JSON bodies. Pure.

    {"v": 1, "device": D, "epoch": E, "first": N, "after": M, "records": [...]}  ->  {"have": N}

Records are the stored texts of activations, spliced. `have` is the highest number the receiver has of this
(device, epoch); a batch with no records only asks. Records between `after` and `first` no longer exist. A
record that nests so deeply that a body with it would have more levels than OpenWhisk takes has its result
as text; the annotation `edge-result` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeGuard

from edgewhisk import jsontext
from edgewhisk.errors import CloudError, MalformedContent
from edgewhisk.spi import SyncBatch

VERSION: Final = 1
MAX_BATCH_BYTES: Final = 900 << 10  # bytes of records: a body must stay under OpenWhisk's 1 MiB
MAX_BATCH_RECORDS: Final = 2000  # records
_AS_TEXT: Final = {"key": "edge-result", "value": "text"}


def body(device: str, epoch: str, batch: SyncBatch) -> bytes:
    """The parameters of the ingest action."""
    after = batch.first - 1 if batch.after is None else batch.after
    return b'{"v":%d,"device":"%b","epoch":"%b","first":%d,"after":%d,"records":[%b]}' % (
        VERSION,
        device.encode(),
        epoch.encode(),
        batch.first,
        after,
        b",".join(map(_flat, batch.records)),
    )


def _flat(text: bytes) -> bytes:
    """A record that a body has room for: at most two levels less than a body may have."""
    if not jsontext.is_deeper(text, jsontext.LEVELS - 2):
        return text
    record = jsontext.loads(text)
    result = jsontext.dumps(record["response"]["result"]).decode()
    annotations = [*record.get("annotations", []), _AS_TEXT]
    response = {**record["response"], "result": result}
    return jsontext.dumps({**record, "response": response, "annotations": annotations})


def _whole(record: Any) -> Any:
    """A record as it was before `_flat`; anything else as it is, for the store to refuse."""
    annotations = record.get("annotations") if isinstance(record, dict) else None
    if not isinstance(annotations, list) or _AS_TEXT not in annotations:
        return record
    try:
        result = jsontext.parse(record["response"]["result"].encode()).value
    except (jsontext.NotJson, KeyError, TypeError, AttributeError):
        return record
    kept = [one for one in annotations if one != _AS_TEXT]
    return {**record, "response": {**record["response"], "result": result}, "annotations": kept}


def read(parameters: Mapping[str, Any]) -> tuple[str, str, SyncBatch]:
    """The batch in an ingest action's parameters; raises `MalformedContent` naming what is wrong."""
    if parameters.get("v") != VERSION:
        raise MalformedContent(f"v must be {VERSION}, not {parameters.get('v')!r}")
    device, epoch = parameters.get("device"), parameters.get("epoch")
    for key, value in (("device", device), ("epoch", epoch)):
        if not isinstance(value, str) or not 1 <= len(value) <= 64 or not value.isalnum():
            raise MalformedContent(f"{key} must be 1 to 64 letters and digits")
    first, after, records = (parameters.get(key) for key in ("first", "after", "records"))
    if not _is_number(first) or first < 1:
        raise MalformedContent("first must be a whole number from 1 on")
    if after is not None and (not _is_number(after) or not 0 <= after < first):
        raise MalformedContent("after must be a whole number below first")
    if not isinstance(records, list) or len(records) > MAX_BATCH_RECORDS:
        raise MalformedContent(f"records must be an array of at most {MAX_BATCH_RECORDS}")
    return (
        str(device),
        str(epoch),
        SyncBatch(first, tuple(jsontext.dumps(_whole(record)) for record in records), after),
    )


def owned(batch: SyncBatch, namespace: str) -> SyncBatch:
    """The batch with all records in `namespace`; what is no record is left for the store to refuse."""
    mark = b'{"namespace":%b,' % jsontext.dumps(namespace)
    records = (
        text if text.startswith(mark) else _moved(jsontext.loads(text), namespace) for text in batch.records
    )
    return batch._replace(records=tuple(records))


def _moved(record: Any, namespace: str) -> bytes:
    return jsontext.dumps({**record, "namespace": namespace} if isinstance(record, dict) else record)


def have(answer: Any) -> int:
    """The number in an ingest action's answer; raises `CloudError`."""
    found = answer.get("have") if isinstance(answer, dict) else None
    if not _is_number(found) or found < 0:
        raise CloudError(f"the ingest action answered {answer!r:.200}, not {{'have': number}}")
    return int(found)


def _is_number(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
