"""Web actions: a request as arguments, a result as a response. Pure.

Follows OpenWhisk's `WebActions.scala`: the extension of the action's name in the path decides how a
result is read, and what the result itself says about status, headers and body counts for `.http`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from edgewhisk import jsontext
from edgewhisk.entity.exec import is_base64
from edgewhisk.entity.invocation.arguments import NOT_ALLOWED
from edgewhisk.entity.parameters import Parameters
from edgewhisk.errors import BadRequest, MalformedContent, NotAcceptable, NotFound, Unprocessable

BODILESS: Final = frozenset({204, 304})  # a body would be read as the next answer (RFC 9112, 6.3)
EXTENSIONS: Final = (".http", ".json", ".html", ".svg", ".text")
RESERVED: Final = frozenset(f"__ow_{name}" for name in ("method", "headers", "path", "user", "query", "body"))
_JSON: Final = "application/json"
_HTML: Final = "text/html"
_FORM: Final = "application/x-www-form-urlencoded"
# Types with characters in them, besides text/* and *+xml; the others travel as base64.
_TEXTUAL: Final = frozenset({_FORM, "application/javascript", "application/xml", "application/xml-dtd"})
_BYTES: Final = "application/octet-stream"
_OF_BODY: Final = frozenset({"content-type", "content-length", "transfer-encoding"})
_FORM_TEXT: Final = re.compile(rb'(?:[!"$&-~]|%[0-9a-fA-F]{2})*')  # all that is printable but # and %
_CHARSET: Final = re.compile(r"\s*;\s*charset\s*=[^;]*", re.IGNORECASE)
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,9}")
_MISMATCH: Final = "Response type in header did not match generated content type."
_NO_PROPERTY: Final = "Response does not include requested property."


class WebRequest(NamedTuple):
    """What came in."""

    method: str
    headers: Sequence[tuple[str, str]]  # names in lower case
    path: str  # after the action's name: "" or "/..."
    query: str  # as it was sent, without the question mark
    body: bytes
    user: str | None  # namespace of the caller, if valid credentials came

    def header(self, name: str) -> str:
        """The value of a header, or nothing."""
        return next((value for key, value in self.headers if key == name), "")


class WebResponse(NamedTuple):
    """What goes out."""

    status: int
    body: bytes
    content_type: str  # "" for an empty body
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class WebAccess:
    """What the annotations of an action say about calling it over the web."""

    exported: bool
    raw: bool
    own_options: bool
    secret: Any  # of `require-whisk-auth`; false: open

    @classmethod
    def of(cls, annotations: Parameters) -> WebAccess:
        """Read the annotations; the flags count only as boolean true."""
        return cls(
            annotations.get("web-export") is True,
            annotations.get("raw-http") is True,
            annotations.get("web-custom-options") is True,
            annotations.get("require-whisk-auth", False),
        )

    def admits(self, given: str, *, known: bool) -> bool:
        """Whether a request may pass: `given` is its X-Require-Whisk-Auth, `known` its user.

        Only a plain false, or no annotation, lets everybody in. What can be no secret (null, "", an
        object) lets nobody in.
        """
        if isinstance(self.secret, bool):
            return known or not self.secret
        if not isinstance(self.secret, str | int | float) or not given:
            return False
        return hmac.compare_digest(str(self.secret).encode(), given.encode())


def split_extension(name: str) -> tuple[str, str]:
    """`hello.json` is action `hello` and extension `.json`; without a known one it is `.http`."""
    for extension in EXTENSIONS:
        if name.endswith(extension):
            return name[: -len(extension)], extension
    return name, EXTENSIONS[0]


# -- requests --------------------------------------------------------------------------------------


def arguments(request: WebRequest, *, raw: bool, final: frozenset[str]) -> bytes:
    """The payload for the action, a JSON object; raises `BadRequest` for reserved parameters."""
    kind = _media_type(request.header("content-type"))
    found: dict[str, Any] = {
        "__ow_method": request.method.lower(),
        "__ow_headers": _headers_of(request),
        "__ow_path": request.path,
    }
    if request.user is not None:
        found["__ow_user"] = request.user
    if raw:
        return jsontext.dumps(
            found | {"__ow_query": request.query, "__ow_body": _encoded(request.body, kind)}
        )
    query = dict(parse_qsl(request.query, keep_blank_values=True))
    body = _body(request.body, kind)
    given = {**query, **body} if isinstance(body, dict) else query
    if not (RESERVED | final).isdisjoint(given):
        raise BadRequest(NOT_ALLOWED)
    if request.body and not isinstance(body, dict):
        given = {**query, "__ow_body": body}
    return jsontext.dumps(found | given)


def _headers_of(request: WebRequest) -> dict[str, str]:
    """What an action sees: how long the body is and how it came is the server's, its type goes with it."""
    found = {key: value for key, value in request.headers if key not in _OF_BODY}
    return found | {"content-type": request.header("content-type") or _BYTES} if request.body else found


def _body(data: bytes, kind: str) -> Any:
    """A JSON value, the fields of a form, or text; nothing is no fields."""
    if not data:
        return {}
    if _is_json(kind):
        try:
            return jsontext.parse(data).value
        except jsontext.NotJson as error:
            raise MalformedContent(str(error)) from None
    if kind == _FORM:
        if not _FORM_TEXT.fullmatch(data):
            raise Unprocessable("The body is no form: what is no letter or digit must be escaped.")
        return dict(parse_qsl(data.decode(), keep_blank_values=True))
    return _encoded(data, kind)


def _encoded(data: bytes, kind: str) -> str:
    """Text as it is; JSON and what is not text as base64."""
    return jsontext.decoded(data) if _is_text(kind) else base64.b64encode(data).decode()


def _media_type(header: str) -> str:
    return header.partition(";")[0].strip().lower()


def _is_json(kind: str) -> bool:
    return kind == _JSON or kind.endswith("+json")


def _is_text(kind: str) -> bool:
    if kind.startswith("text/") or kind in _TEXTUAL:
        return True
    return kind.endswith("+xml") and not kind.startswith("image/")


# -- responses -------------------------------------------------------------------------------------


def response(result: Any, extension: str, accept: str) -> WebResponse:
    """How `result` is answered.

    Raises `BadRequest` or `NotFound` where it does not fit the extension, `NotAcceptable` where the
    client takes no such type.
    """
    made = _MAKERS[extension](result)
    if made.body and not _accepted(_media_type(made.content_type), accept):
        raise NotAcceptable(
            f"Resource representation is only available with these types:\n{made.content_type}"
        )
    return made


def _json(result: Any) -> WebResponse:
    if not isinstance(result, dict | list):
        raise BadRequest(f"Response is not valid '{_JSON}'.")
    return WebResponse(200, _pretty(result), _JSON)


def _html(result: Any) -> WebResponse:
    text = _property(result, "html") if isinstance(result, dict) else result
    if not isinstance(text, str):
        raise BadRequest(f"Response is not valid '{_HTML}'.")
    return WebResponse(200, text.encode(), f"{_HTML}; charset=UTF-8")


def _svg(result: Any) -> WebResponse:
    text = _property(result, "svg") if isinstance(result, dict) else result
    if not isinstance(text, str):
        raise BadRequest("Response is not valid 'image/svg+xml'.")
    return WebResponse(200, text.encode(), "image/svg+xml")


def _text(result: Any) -> WebResponse:
    value = _property(result, "text") if isinstance(result, dict) else result
    if value is _ABSENT:
        raise NotFound(_NO_PROPERTY)
    text = value.encode() if isinstance(value, str) else _pretty(value)
    return WebResponse(200, text, "text/plain; charset=UTF-8")


def _http(result: Any) -> WebResponse:
    try:
        if not isinstance(result, dict):
            raise TypeError
        code = _status(result["statusCode"]) if "statusCode" in result else None
        headers = tuple(_headers(result["headers"])) if "headers" in result else ()
    except (TypeError, ValueError):
        raise BadRequest("Response is not valid 'message/http'.") from None
    kept = tuple((key, value) for key, value in headers if key.lower() != "content-type")
    body = result.get("body")
    if body is None or body == "" or code in BODILESS:
        return WebResponse(code or 204, b"", "", kept)
    given = next((value for key, value in headers if key.lower() == "content-type"), "")
    if given and not _well_formed(_media_type(given)):
        raise BadRequest("Response did not specify a known content-type.")
    if isinstance(body, str):
        return WebResponse(code or 200, *_string_body(body, given or _HTML), kept)
    if not _is_json(_media_type(given or _JSON)):
        raise BadRequest(_MISMATCH)
    return WebResponse(code or 200, _pretty(body), given or _JSON, kept)


def _string_body(body: str, kind: str) -> tuple[bytes, str]:
    media = _media_type(kind)
    if _is_text(media):
        return (
            body.encode(),
            f"{_CHARSET.sub('', kind)}; charset=UTF-8",
        )  # whatever it says: these are its bytes
    if _is_json(media) and not is_base64(body):
        return body.encode(), kind
    try:
        return base64.b64decode(body, validate=True), kind
    except (binascii.Error, ValueError):
        raise BadRequest(_MISMATCH) from None


def _status(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    if isinstance(value, str) and not _WHOLE.fullmatch(value):
        raise ValueError
    code = int(value)
    if isinstance(value, float) and value != code:
        raise ValueError
    if not 200 <= code <= 599:  # after 1xx a client waits for the answer
        raise ValueError
    return code


def _headers(value: Any) -> Iterable[tuple[str, str]]:
    if not isinstance(value, dict):
        raise TypeError
    for key, given in value.items():
        for one in _flat(given):
            if one is None or isinstance(one, dict):
                raise TypeError
            text = one if isinstance(one, str) else jsontext.dumps(one).decode()
            if key.lower() not in _OF_CONNECTION and key and _TOKEN.issuperset(key) and text.isprintable():
                yield key, text  # what is no header is left out: it could begin a body, or another answer


def _flat(value: Any) -> list[Any]:
    """The values of a header: those in arrays, and in arrays of arrays, are each one of its own."""
    found, left = [], [value]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left += reversed(one)
        else:
            found.append(one)
    return found


_TOKEN: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
# Where an answer ends is the gateway's to say: two lengths, or a wrong one, let a body of an action pass for
# the answer to somebody else's request behind a proxy (RFC 9112, 11.2).
_OF_CONNECTION: Final = frozenset({
    "connection", "content-length", "keep-alive", "proxy-connection",
    "te", "trailer", "transfer-encoding", "upgrade",
})  # fmt: skip
_ABSENT: Final = object()
_MAKERS: Final = {".json": _json, ".html": _html, ".svg": _svg, ".text": _text, ".http": _http}


def _property(result: Mapping[str, Any], name: str) -> Any:
    return result["body"] if "body" in result else result.get(name, _ABSENT)


def _well_formed(media: str) -> bool:
    kind, slash, subtype = media.partition("/")
    return bool(kind and slash and subtype) and _TOKEN.issuperset(kind) and _TOKEN.issuperset(subtype)


def _pretty(value: Any) -> bytes:
    return jsontext.dumps(value, indent=True)


def _accepted(media: str, accept: str) -> bool:
    """Whether an Accept header (RFC 9110, 12.5.1) takes `media`."""
    if not accept.strip():
        return True
    for one in accept.split(","):
        wanted, *parameters = (part.strip().lower() for part in one.split(";"))
        refused = any(part.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for part in parameters)
        if not refused and wanted in ("*/*", "*", media, f"{media.partition('/')[0]}/*"):
            return True
    return False
