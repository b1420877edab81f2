"""What a guest's reply, or its death, means to the caller, in OpenWhisk's words. Pure."""

from __future__ import annotations

import json
from typing import Final

from edgewhisk.entity.message import LogLine, Outcome, Status
from edgewhisk.sandbox.abi import Reply, log_lines

TIMED_OUT: Final = "The action exceeded its time limits of {} milliseconds."
EXITED: Final = "The action did not produce a valid response and exited unexpectedly."
EXHAUSTED: Final = "The action exhausted its memory and was aborted."
LOST: Final = "The action did not initialize or run as expected. Log data might be missing."
NO_CODE: Final = "Missing main/no code to execute."
_CUT: Final = "Logs were truncated because the total bytes size exceeds the limit of {} bytes."
_TOO_LONG: Final = (
    "The action produced a response that exceeded the allowed length: {} > {} bytes. "
    "The truncated response was: {}"
)
_SHOWN: Final = 4096  # bytes of a result that is too long
_OUT_OF_MEMORY: Final = b"InternalError: out of memory"
_STATUS: Final = (Status.SUCCESS, Status.APPLICATION_ERROR, Status.DEVELOPER_ERROR)


def of_reply(reply: Reply, start: int, end: int, *, largest: int, log_limit: int, init: int) -> Outcome:
    """The outcome of a call that came back. `largest`: bytes a result may have."""
    status = _STATUS[reply.status]
    result = reply.result
    if status is Status.DEVELOPER_ERROR:
        text = EXHAUSTED if result.endswith(_OUT_OF_MEMORY) else result.decode(errors="replace")
        return developer_error(text, reply.log, start, end, init=init)
    if reply.result_size > largest:
        shown = result[:_SHOWN].decode(errors="ignore")
        status = Status.APPLICATION_ERROR
        result = error_result(_TOO_LONG.format(reply.result_size, largest, shown))
    logs = lines(reply.log)
    if reply.log_cut:
        logs += (LogLine(end, "stderr", _CUT.format(log_limit)),)
    return Outcome(status, result, logs, start, end, init)


def developer_error(
    text: str, log: bytes, start: int, end: int, *, init: int = 0, timed_out: bool = False
) -> Outcome:
    """The outcome of a call that broke."""
    logs = (*lines(log), LogLine(end, "stderr", LOST))
    return Outcome(Status.DEVELOPER_ERROR, error_result(text), logs, start, end, init, timed_out)


def lines(log: bytes) -> tuple[LogLine, ...]:
    """The lines of a guest's log."""
    return tuple(LogLine(*line) for line in log_lines(log)) if log else ()


def error_result(text: str) -> bytes:
    """`{"error": text}`."""
    return json.dumps({"error": text}).encode()
