"""What had to be dropped, and the activation that tells of it. Pure."""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.clock.offset import ClockOffset
from edgewhisk.entity.activation import Record, rfc3339, stamp
from edgewhisk.entity.exec import NATIVE
from edgewhisk.entity.invocation.message import Status

EVICTED: Final = "evicted"  # for space, the oldest first
EXPIRED: Final = "expired"  # older than the lane keeps them
REJECTED: Final = "rejected"  # new ones, of a lane that is full and keeps what it has
DAMAGED: Final = "damaged"  # cannot be read any more: the disk changed them, or somebody removed them
REFUSED: Final = "refused"  # by the cloud, each alone, while it took others; they are still here
NAMESPACE: Final = "guest"  # the subject that every gateway has
_VERBS: Final = {
    EVICTED: "were evicted, as the space for them is used up",
    EXPIRED: "expired, older than the lane keeps them",
    REJECTED: "were rejected, as it is full and keeps what it has",
    DAMAGED: "are damaged or gone and cannot be read",
    REFUSED: "were refused by the cloud, which took others; they stay here as long as there is space",
}


class Loss(NamedTuple):
    """Records of one lane that went for one reason, and were not at the cloud."""

    lane: str
    reason: str
    records: int
    since: int  # start of the earliest, ms; 0: unknown
    upto: int

    def plus(self, other: Loss) -> Loss:
        """Both together."""
        since = min(filter(None, (self.since, other.since)), default=0)
        return self._replace(
            records=self.records + other.records, since=since, upto=max(self.upto, other.upto)
        )


def loss_record(loss: Loss, epoch: str, told: int, now: int, timing: ClockOffset) -> Record:
    """The activation that tells of `loss`; `told`: how many were told of before.

    Its id follows from what it tells, so telling it again after a crash is the same activation.
    """
    digest = hashlib.sha256(f"{epoch}/{loss.lane}/{loss.reason}/{told}".encode()).hexdigest()[:32]
    text = f"activations of the lane {loss.lane} {_VERBS[loss.reason]}: {loss.records}"
    result = {
        "error": text,
        "lane": loss.lane,
        "reason": loss.reason,
        "count": loss.records,
        "from": rfc3339(loss.since) if loss.since else None,
        "to": rfc3339(loss.upto) if loss.upto else None,
    }
    status = Status.WHISK_ERROR
    document = {
        "namespace": NAMESPACE,
        "name": "loss",
        "version": "0.0.1",
        "subject": NAMESPACE,
        "activationId": digest,
        "start": now,
        "end": now,
        "duration": 0,
        "response": {"result": result, "success": False, "status": status, "statusCode": status.code},
        "logs": [],
        "annotations": [
            {"key": "path", "value": "whisk.system/edge/loss"},
            {"key": "kind", "value": NATIVE},
            stamp(now, timing),
        ],
        "publish": False,
    }
    return Record(digest, jsontext.dumps(document), status, jsontext.dumps(result))
