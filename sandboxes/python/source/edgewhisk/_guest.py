"""The Python guest: `load` an action once, then `run` it for each call on a memory put back afterwards.

Built into one component with the standard library packed, so that nothing is read at run time.
"""

import base64
import inspect
import io
import json
import logging
import marshal
import os
import random
import sys
import time
import traceback

from edgewhisk import _files, _library, _loop, _packages, _zones

SUCCESS, APPLICATION_ERROR, DEVELOPER_ERROR = 0, 1, 2
STDOUT, STDERR = 1, 2
LONGEST, SHOWN = 1 << 20, 1 << 13  # characters of a result; of a longer one the host gets so many
OVERHEAD = 16  # bytes that a line of log counts beyond its text: empty ones take room, too
# The words of OpenWhisk's proxy for Python (apache/openwhisk-runtime-go), which runs a command.
NO_DICTIONARY = "The action did not return a dictionary or array."
EXITED = "command exited"
NO_BINARY = "The action failed to generate or locate a binary. See logs for details."
NO_START = "Cannot start action. Check logs for details."
ABRUPT = "Command exited abruptly during initialization."
EXHAUSTED = "The action exhausted its memory and was aborted."
TOO_DEEP = "The action did not produce a valid JSON or JSON Array response: it is nested too deeply."

_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_loads = json.JSONDecoder().decode
_now = time.time


class Log:
    """Lines printed in one call: `[ms, stream, text]`, at most `room` bytes of text."""

    def __init__(self):
        self.reset(1 << 20)

    def reset(self, room):
        """Begin a call."""
        self.lines = []
        self.room = room
        self.cut = False

    def add(self, stream, text):
        """Keep one line, if there is room."""
        self.room -= len(text) + OVERHEAD
        if self.room < 0:
            self.cut = True
        else:
            self.lines.append((int(_now() * 1000), stream, text))


class Printed(io.TextIOBase):
    """sys.stdout or sys.stderr."""

    encoding = "utf-8"

    def __init__(self, log, stream):
        self._log = log
        self._stream = stream
        self._partial = ""

    def writable(self):
        """It is."""
        return True

    def write(self, text):
        """Take text; whole lines go to the log."""
        *lines, self._partial = (self._partial + text).split("\n")
        for line in lines:
            self._log.add(self._stream, line)
        return len(text)

    def end(self):
        """A line without an end counts."""
        if self._partial:
            self._log.add(self._stream, self._partial)
            self._partial = ""


_log = Log()
_out, _err = Printed(_log, STDOUT), Printed(_log, STDERR)


class Action:
    """What is loaded."""

    main = None
    random = False


def load(bundle):
    """Load an action; `{"error": text}` if its code cannot be."""
    try:
        given = _loads(bundle)
        if "reserve" in given:  # grow the heap once: memory that grew in a call can not be put back
            bytearray(given["reserve"])
            return "{}"
        _begin(1 << 20)
        os.environ.update({key: _plain(value) for key, value in given["env"].items()})
        files = {path: _content(value) for path, value in given["files"].items()}
        _packages.give(files)
        Action.main = _loaded(given["entry"], given["main"])
        Action.random = "random" in sys.modules and _library.imported("random", files)
        error = None
    except MemoryError:
        error = EXHAUSTED
    except Refused as refusal:
        error = str(refusal)
    return _sayable(_dumps({"error": error, "logs": _logs(), "cut": _log.cut}))


class Refused(Exception):
    """An action cannot be loaded; the text is for its caller, what happened is in the log."""


def _loaded(entry, main):
    """The function `main` of the entry file; raises `Refused`."""
    try:
        code = _packages.compiled(entry)
    except (SyntaxError, ValueError) as failure:  # no UTF-8, a NUL
        _tell(failure)
        raise Refused(NO_BINARY) from None
    try:
        module = _packages.run(code, entry)
        if main not in module:
            raise ImportError(f"cannot import name '{main}' from '{_packages.MAIN}' ({entry})")
        return module[main]
    except MemoryError:
        raise
    except BaseException as failure:  # the user's module may raise anything
        _tell(failure)
        _log.add(STDERR, ABRUPT)
        raise Refused(NO_START) from None


def run(call):
    """One call: a line of JSON about it, then its arguments as they came."""
    head, _, arguments = call.partition("\n")
    about = _loads(head)
    _begin(about["log_limit"])
    os.environ.update(about["context"])
    if Action.random:
        random.seed(about["seed"])
    try:
        status, result = _written(_called(arguments))
    except MemoryError:
        status, result = DEVELOPER_ERROR, EXHAUSTED
    except BaseException as failure:  # an exit, or what passes by `except Exception`
        _tell(failure)
        status, result = DEVELOPER_ERROR, EXITED
    logs = _logs()
    # The first line tells of the second: the result goes out as it is.
    head = [status, logs, _log.cut]
    if len(result) > LONGEST:
        size = len(result) if result.isascii() else len(result.encode(errors="replace"))
        said = f"{_dumps([*head, size])}\n{result[:SHOWN]}"
    else:
        said = f"{_dumps(head)}\n{result}" if logs or _log.cut else f"{status}\n{result}"
    return said if said.isascii() else _sayable(said)


def _called(arguments):
    """What the action returns; what it raises is an error of the application."""
    try:
        value = Action.main(_loads(arguments))
        return _loop.run(value) if inspect.iscoroutine(value) else value
    except MemoryError:
        raise
    except Exception as failure:
        _tell(failure)
        return {"error": _text(failure)}


def _written(value):
    """Status and result of what the action returned."""
    if _is_too_deep(value):
        return DEVELOPER_ERROR, TOO_DEEP
    try:
        text = _dumps(value)
    except (TypeError, ValueError, RecursionError) as failure:
        if "not JSON compliant" in str(failure):  # NaN and infinity, which the proxy cannot read
            return DEVELOPER_ERROR, NO_DICTIONARY
        _tell(failure)
        return DEVELOPER_ERROR, EXITED
    if text[0] not in "{[":
        return DEVELOPER_ERROR, NO_DICTIONARY
    if isinstance(value, dict) and "error" in value:
        return APPLICATION_ERROR, _dumps({"error": value["error"]})
    return SUCCESS, text


def _is_too_deep(value):
    """Whether json would run out of stack, which ends the guest: marshal counts levels, up to some 1,500."""
    try:
        marshal.dumps(value)
    except ValueError as failure:
        return "nested" in str(failure)
    return False


def _sayable(text):
    """Text that can leave the guest: halves of a surrogate pair are joined, lone ones become `?`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return joined.encode(errors="replace").decode()
    return text


def _begin(room):
    _log.reset(room)
    sys.stdout, sys.stderr = _out, _err


def _logs():
    _out.end()
    _err.end()
    return _log.lines


def _text(failure):
    try:
        return str(failure)
    except Exception:  # a broken __str__
        return type(failure).__name__


def _tell(failure):
    """Put into the log what Python prints of an exception that nobody caught."""
    if told := _trace(failure).rstrip("\n"):
        for line in told.split("\n"):
            _log.add(STDERR, line)


def _trace(failure):
    """The traceback without our own frames; of an exit its text, if it has one."""
    if isinstance(failure, SystemExit):
        return "" if failure.code is None or isinstance(failure.code, int) else str(failure.code)
    try:
        trace = failure.__traceback__
        while trace is not None and trace.tb_frame.f_globals.get("__package__") == __package__:
            trace = trace.tb_next
        return "".join(traceback.format_exception(type(failure), failure, trace))
    except BaseException:
        return type(failure).__name__


def _content(value):
    return value.encode() if isinstance(value, str) else base64.b64decode(value["base64"])


def _plain(value):
    return value if isinstance(value, str) else _dumps(value)


def _logging():
    """logging goes to stderr as the user's configuration says; by default warnings."""
    logging.lastResort = logging.StreamHandler(_err)
    logging.lastResort.setLevel(logging.WARNING)


def _exit(status):
    """os._exit: nobody is left who could run on."""
    raise SystemExit(status)


def warm():
    """Run the usual paths once before the image is taken, so that calls find them ready."""
    code = "def main(a):\n  print(1)\n  return {1:[a]}"
    load(_dumps({"files": {"__main__.py": code}, "entry": "__main__.py", "main": "main", "env": {}}))
    for _ in range(20):
        run('{"context":{"__OW_X":"1"},"seed":1,"log_limit":1000}\n{"a":[1,2.5,"x",null,true]}')
    os.environ.pop("__OW_X", None)
    _packages.forget()
    Action.main = None


class WitWorld:
    """What the component exports."""

    def load(self, bundle):
        """See `load` above."""
        return load(bundle)

    def run(self, call):
        """See `run` above."""
        return run(call)


_logging()
os._exit = _exit
_library.pack()
_zones.install()
_files.install(_packages.Files)
warm()
