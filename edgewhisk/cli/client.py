"""A small client of OpenWhisk's REST API for the command line: local gateway or any other.

Only the standard library, loaded when the first request is sent: a verb must answer at once on a
small board.
"""

from __future__ import annotations

import argparse
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any, Final

from edgewhisk.cli.endpoint import Endpoint, options, target
from edgewhisk.cli.output import note
from edgewhisk.cli.waiting import told
from edgewhisk.errors import EdgeWhiskError

NOBODY: Final = "is the gateway running? edgewhisk status tells; --apihost names another"
_PATIENCE: Final = 75.0  # seconds; a blocking invoke may take 60
__all__ = ["NOBODY", "ApiClient", "ApiError", "client", "options"]
_IMPATIENCE: Final = 3.0  # seconds to ask why something else takes long
_PIECE: Final = 64 << 10  # bytes sent between two looks at the progress
_SHOWN: Final = 256 << 10  # bytes from which on an upload shows its progress
_UNSAFE: Final = "/@&"  # that quote() is to leave alone in names


class ApiError(EdgeWhiskError):
    """The API refused, or could not be reached. `exit_code` is what `wsk` would exit with."""

    def __init__(
        self, message: str, *, status: int = 0, body: Any = None, hint: str = "", where: str = ""
    ) -> None:
        """`status` 0: no answer at all; `where`: the path that was asked for."""
        super().__init__(message, hint=hint)
        self.code = status
        self.body = body
        self.where = where

    def saying(self, message: str, hint: str = "") -> ApiError:
        """The same error in other words, perhaps with another hint."""
        return ApiError(message, status=self.code, body=self.body, hint=hint or self.hint, where=self.where)

    @property
    def exit_code(self) -> int:
        """3 where nothing answers, else the status modulo 256, as `wsk` does."""
        return (self.code - 256) % 256 if self.code else 3


def client(given: argparse.Namespace, environment: Mapping[str, str]) -> ApiClient:
    """The client that the options, `.wskprops` or the local gateway's files describe."""
    return ApiClient(target(given, environment), verbose=given.verbose)


class ApiClient:
    """Sends requests over one kept connection."""

    def __init__(self, target: Endpoint, *, verbose: bool = False, patience: float = _PATIENCE) -> None:
        """To `target`; gives up after `patience` seconds."""
        self.target = target
        self._verbose = verbose
        self._patience = patience
        self._connection: Any = None

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def get(self, path: str, **query: object) -> Any:
        """GET; see `call`."""
        return self.call("GET", path, **query)

    def put(self, path: str, body: Any, **query: object) -> Any:
        """PUT; see `call`."""
        return self.call("PUT", path, body, **query)

    def post(self, path: str, body: Any = None, **query: object) -> Any:
        """POST; see `call`."""
        return self.call("POST", path, {} if body is None else body, **query)

    def delete(self, path: str, **query: object) -> Any:
        """DELETE; see `call`."""
        return self.call("DELETE", path, **query)

    def find(self, path: str, **query: object) -> Any:
        """GET, or None where there is nothing."""
        try:
            return self.get(path, **query)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def call(self, method: str, path: str, body: Any = None, **query: object) -> Any:
        """One request below `/api/v1/namespaces/`, or at `path` if it begins with a slash.

        Returns the JSON body; raises `ApiError`.
        """
        return self.answer(method, path, body, **query)[1]

    def answer(self, method: str, path: str, body: Any = None, **query: object) -> tuple[int, Any]:
        """Status and body of one request; raises `ApiError` from 400 on."""
        from urllib.parse import quote, urlencode

        from edgewhisk import jsontext

        where = path if path.startswith("/") else f"/api/v1/namespaces/{quote(path, safe=_UNSAFE)}"
        if query:
            where += "?" + urlencode({key: _text(value) for key, value in query.items()})
        data = None if body is None else jsontext.dumps(body)
        status, reason, raw = self._send(method, where, data)
        try:
            found = jsontext.loads(raw) if raw else None
        except ValueError:
            found = raw.decode(errors="replace")
        if status >= 400:
            raise _refusal(status, reason, found, path)
        return status, found

    def _send(self, method: str, where: str, data: bytes | None) -> tuple[int, str, bytes]:
        from http.client import HTTPException

        headers = {
            "Authorization": f"Basic {b64encode(self.target.auth.encode()).decode()}",
            "User-Agent": "edgewhisk-cli",
        }
        if data is not None:
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
        if self._verbose:
            note(f"{method} {self.target.url}{where}")
        try:
            if self._connection is None:
                self._connection = self.target.connection(self._patience)
            self._connection.request(method, where, _pieces(data) if data else None, headers)
            with told(self._status):
                answer = self._connection.getresponse()
            return answer.status, answer.reason, answer.read()
        except (OSError, HTTPException) as error:
            self._connection = None
            raise ApiError(f"no answer from {self.target.url}: {error}", hint=_advice(error)) from error

    def _status(self) -> Any:
        """The gateway's own account, over another connection; None from what is no EdgeWhisk."""
        asking = ApiClient(self.target, patience=_IMPATIENCE)
        try:
            return asking.get("/edgewhisk/status")
        except EdgeWhiskError:
            return None
        finally:
            asking.close()


def _pieces(data: bytes) -> bytes | Iterator[bytes]:
    """The body; a large one shows on a terminal how much of it has gone."""
    return data if len(data) < _SHOWN or not sys.stderr.isatty() else _shown(data)


def _shown(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), _PIECE):
        yield data[at : at + _PIECE]
        done = min(len(data), at + _PIECE)
        print(
            f"\ruploading {done / 1e6:.1f} of {len(data) / 1e6:.1f} MB", end="", file=sys.stderr, flush=True
        )
    print(file=sys.stderr)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _advice(error: Exception) -> str:
    """What to do where nothing was answered."""
    from http.client import RemoteDisconnected

    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "the certificate is not trusted: check --apihost, name it with --cacert, or use --insecure"
    if "WRONG_VERSION_NUMBER" in str(error):
        return "it speaks HTTP without TLS: --apihost http://HOST[:PORT]"
    if isinstance(error, RemoteDisconnected):
        return "if it speaks TLS: --apihost https://HOST[:PORT]"
    return NOBODY


def _refusal(status: int, reason: str, body: Any, where: str) -> ApiError:
    told = isinstance(body, dict) and "error" in body and "code" in body
    text = f"{body['error']} (code {body['code']})" if told else f"{status} {reason}"
    return ApiError(text, status=status, body=body, hint=_hint(status), where=where)


def _hint(status: int) -> str:
    return {
        401: "check --auth, or AUTH in .wskprops; edgewhisk auth prints the key of this gateway",
        429: "wait a minute, or raise the limits in the configuration",
    }.get(status, "")
