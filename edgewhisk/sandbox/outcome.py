"""What a guest's reply, or its death, means to the caller, in OpenWhisk's words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from edgewhisk import jsontext
from edgewhisk.entity.invocation.message import BatchResult, LogLine, Outcome, Status, UniformResult
from edgewhisk.sandbox.guest.abi import Reply, log_lines

TIMED_OUT: Final = "The action exceeded its time limits of {} milliseconds."
EXITED: Final = "The action did not produce a valid response and exited unexpectedly."
NESTED: Final = "The action's calls were nested too deeply: its stack was exhausted, and it was aborted."
EXHAUSTED: Final = "The action exhausted its memory and was aborted."
STARVED: Final = (
    "The action was refused memory: not its own limit was reached, but what all sandboxes together may use, "
    "{} MB. Run fewer at once that need much (limits.instances of an action), or raise limits.sandbox_memory "
    "in the gateway's configuration."
)
LOST: Final = "The action did not initialize or run as expected. Log data might be missing."
NO_RESULT: Final = "The action printed no result: its last line must be a JSON object or array."
LARGEST_RESULT: Final = 1 << 20  # bytes, OpenWhisk's limit
NO_CODE: Final = "Missing main/no code to execute."
CUT: Final = "Logs were truncated because the total bytes size exceeds the limit of {} bytes."
_TOO_LONG: Final = (
    "The action produced a response that exceeded the allowed length: {} > {} bytes. "
    "The truncated response was: {}"
)
INVALID: Final = "The action did not produce a valid JSON or JSON Array response: {}"
_SHOWN: Final = 4096  # bytes of a result that is too long
_UNWRITABLE: Final = b"The action's result can not be written as JSON: RangeError"  # it nests too deeply
_OUT_OF_MEMORY: Final = b"InternalError: out of memory"
_STARVING: Final = (b" exited ", b"exhausted its memory", b"out of memory", b"MemoryError")
_STREAMS: Final = {1: "stdout", 2: "stderr"}
INTERRUPT: Final = "wasm trap: interrupt"  # how wasmtime says that the deadline struck
_STATUS: Final = (Status.SUCCESS, Status.APPLICATION_ERROR, Status.DEVELOPER_ERROR)


class OutOfTime(Exception):
    """A guest would sleep beyond its deadline."""


class LoadFailure(Exception):
    """The action's own code could not be loaded; the text is for its author."""

    def __init__(self, text: str, logs: tuple[LogLine, ...] = ()) -> None:
        """`logs`: what was printed until then."""
        super().__init__(text)
        self.logs = logs


class Trap(Exception):
    """A guest was stopped.

    `interrupted`: by its deadline; `exhausted`: its stack was; `fault`: a host function failed.
    """

    def __init__(self, message: str, fault: str = "") -> None:
        """Keep wasmtime's text."""
        super().__init__(message)
        self.interrupted = INTERRUPT in message
        self.exhausted = "call stack exhausted" in message
        self.fault = fault


class Starved(Trap):
    """A guest could not be started: all actions together had no memory left for it."""

    def __init__(self, budget: int) -> None:
        """Of a budget of so many bytes."""
        super().__init__("no memory", STARVED.format(budget >> 20))


def load_failed(failure: LoadFailure | Trap, timeout: int) -> str:
    """What the caller of an action that could not be loaded is told."""
    if isinstance(failure, LoadFailure):
        return str(failure)
    if failure.interrupted:
        return TIMED_OUT.format(timeout).replace(".", " during initialization.")
    return failure.fault or "The action did not initialize and exited unexpectedly."


def stopped(trap: Trap, timeout: int) -> str:
    """What the caller of an action whose call was stopped is told."""
    if trap.interrupted:
        return TIMED_OUT.format(timeout)
    return trap.fault or (NESTED if trap.exhausted else EXITED)


def starved(outcomes: Sequence[Outcome], budget: int) -> list[Outcome]:
    """`outcomes` of a run that the budget of all, of `budget` bytes, refused memory: what broke says so."""
    text = STARVED.format(budget >> 20)
    return [_starved(one, text) if _is_broken(one) else one for one in outcomes]


def _is_broken(found: Outcome) -> bool:
    """Whether the want of memory can have been the end of it."""
    broken = found.status is Status.DEVELOPER_ERROR and not found.timed_out
    return broken and any(sign in found.result for sign in _STARVING)


def _starved(found: Outcome, text: str) -> Outcome:
    logs = (LogLine(found.end, "stderr", text), *found.logs)
    return found._replace(result=error_result(text), logs=logs)


def without_logs(ran: BatchResult) -> BatchResult:
    """What ran, of an action whose log limit is 0: OpenWhisk collects none of its lines, not even its own."""
    return ran if isinstance(ran, UniformResult) else [one._replace(logs=()) for one in ran]


def with_refusals(outcomes: list[Outcome], refusals: Sequence[tuple[int, str]]) -> list[Outcome]:
    """`outcomes` with a line in the log for each thing that was not granted."""
    for at, text in refusals:
        if at < len(outcomes):
            found = outcomes[at]
            logs = (*found.logs, LogLine(found.end, "stderr", text))
            outcomes[at] = found._replace(logs=logs)
    return outcomes


def of_reply(reply: Reply, start: int, end: int, *, largest: int, log_limit: int, init: int) -> Outcome:
    """The outcome of a call that came back. `largest`: bytes a result may have."""
    status = _STATUS[reply.status]
    result = reply.result
    if status is Status.DEVELOPER_ERROR:
        text = EXHAUSTED if result.endswith(_OUT_OF_MEMORY) else jsontext.decoded(result)
        if result.startswith(_UNWRITABLE):
            text = INVALID.format(text)
        return developer_error(text, reply.log, start, end, init=init)
    if reply.result_size > largest:
        status = Status.APPLICATION_ERROR
        result = too_long(result, reply.result_size, largest)
    else:
        status, result = checked(status, result)
    logs = lines(reply.log)
    if reply.log_cut:
        logs += (LogLine(end, "stderr", CUT.format(log_limit)),)
    return Outcome(status, result, logs, start, end, init)


def of_text(reply: bytes, start: int, end: int, *, log_limit: int, init: int) -> Outcome:
    """The outcome of a component's call that came back.

    Its reply is a line of status, or of status, logs, whether they were cut, and the size of a result that
    the guest cut; then the result.
    """
    head, _, result = reply.partition(b"\n")
    try:
        about = jsontext.loads(head)
        number, logs, cut, *true_size = (about, (), False) if isinstance(about, int) else about
        size = int(true_size[0]) if true_size else len(result)
        status, found = _STATUS[number], told_lines(logs)
    except (jsontext.NotJson, TypeError, ValueError, LookupError):  # the action changed what runs it
        return developer_error(EXITED, b"", start, end, init=init)
    if cut:
        found = (*found, LogLine(end, "stderr", CUT.format(log_limit)))
    if status is Status.DEVELOPER_ERROR:
        found = (*found, LogLine(end, "stderr", LOST))
        result = error_result(jsontext.decoded(result))
    elif size > LARGEST_RESULT:
        status, result = Status.APPLICATION_ERROR, too_long(result, size, LARGEST_RESULT)
    else:
        status, result = checked(status, result)
    return Outcome(status, result, found, start, end, init)


def told_lines(logs: Any) -> tuple[LogLine, ...]:
    """The lines that a component tells: (ms since the epoch, stream, text)."""
    return tuple(LogLine(at, _STREAMS[stream], text) for at, stream, text in logs)


def developer_error(
    text: str, log: bytes, start: int, end: int, *, init: int = 0, timed_out: bool = False
) -> Outcome:
    """The outcome of a call that broke."""
    logs = (*lines(log), LogLine(end, "stderr", LOST))
    return Outcome(Status.DEVELOPER_ERROR, error_result(text), logs, start, end, init, timed_out)


def checked(status: Status, result: bytes) -> tuple[Status, bytes]:
    """Status and result of a call that gave `result`. A guest may say anything; every reader must take it."""
    if jsontext.are_plain((result,)):
        return status, result
    try:
        found = jsontext.parse_odd(result, cut=False)
    except jsontext.NotJson:
        found = None
    if found is None or not isinstance(found.value, dict | list):
        shown = jsontext.decoded(result[:_SHOWN])
        return Status.DEVELOPER_ERROR, error_result(INVALID.format(shown))
    return status, found.text


def of_printed(text: bytes, exit_code: int) -> tuple[Status, bytes]:
    """Status and result of a command whose last line was `text`."""
    if len(text) > LARGEST_RESULT:  # whatever it is: it is not worth parsing
        return Status.APPLICATION_ERROR, too_long(text, len(text), LARGEST_RESULT)
    # Nothing that could be an error, however it is spelt: most results, at a third of the cost.
    if not exit_code and b"error" not in text and b"\\" not in text and text and jsontext.are_plain((text,)):
        return Status.SUCCESS, text
    try:
        value = jsontext.parse_odd(text, cut=False).value if text else None
    except jsontext.TooDeep:
        return checked(Status.SUCCESS, text)
    except jsontext.NotJson:
        value = None
    if exit_code and not (isinstance(value, dict) and "error" in value):
        return Status.DEVELOPER_ERROR, error_result(f"The action exited with status {exit_code}.")
    if not isinstance(value, dict | list):
        shown = jsontext.decoded(text[:_SHOWN])
        problem = f"The action did not return a dictionary or array: {shown}" if shown else NO_RESULT
        return Status.DEVELOPER_ERROR, error_result(problem)
    if isinstance(value, dict) and "error" in value:
        return Status.APPLICATION_ERROR, jsontext.dumps({"error": value["error"]})
    return checked(Status.SUCCESS, text)


def too_long(result: bytes, size: int, largest: int) -> bytes:
    """The result in place of one that has more than `largest` bytes."""
    shown = result[:_SHOWN].decode(errors="ignore")
    return error_result(_TOO_LONG.format(size, largest, shown))


def lines(log: bytes) -> tuple[LogLine, ...]:
    """The lines of a guest's log."""
    return tuple(LogLine(*line) for line in log_lines(log)) if log else ()


def error_result(text: str) -> bytes:
    """`{"error": text}`."""
    return jsontext.dumps({"error": text})
