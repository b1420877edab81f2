"""What people give on the command line: names, parameters, files with code. Mostly `wsk`'s habits."""

from __future__ import annotations

import argparse
import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgewhisk import jsontext
from edgewhisk.errors import BadRequest

KINDS: Final = {".js": "nodejs:default", ".mjs": "nodejs:default", ".cjs": "nodejs:default",
                ".py": "python:default", ".wasm": "wasm:default"}  # fmt: skip
_BINARY: Final = (".zip", ".wasm", ".gz", ".jar")


class UsageError(BadRequest):
    """Words that make no sense together; ends with the exit code that `wsk` has for it."""

    def __init__(self, message: str, *, hint: str = "", exit_code: int = 2) -> None:
        """See `EdgeWhiskError`."""
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


def path_of(name: str, collection: str) -> str:
    """The path of an entity: `x`, `pkg/x`, `/ns/x` or `/ns/pkg/x`; `_` is one's own namespace."""
    parts = name.split("/")
    if name.startswith("/"):
        if len(parts) not in (3, 4) or not all(parts[1:]):
            raise BadRequest(f"{name!r} is no name; for example hello, tools/hello or /_/tools/hello")
        return "/".join([parts[1], collection, *parts[2:]])
    if not all(parts) or len(parts) > 2:
        raise BadRequest(f"{name!r} is no name; for example hello, tools/hello or /_/tools/hello")
    return "/".join(["_", collection, *parts])


def qualified(name: str) -> str:
    """A name as bodies carry it: `/_/x`."""
    return name if name.startswith("/") else f"/_/{name}"


def value(text: str) -> Any:
    """`-p KEY VALUE`: JSON if it is, else text."""
    try:
        return jsontext.parse(jsontext.sayable(text).encode()).value
    except ValueError:
        return text


def parameter_options(parser: argparse.ArgumentParser, *, annotations: bool = True) -> None:
    """`-p`, `-P`, `-a`, `-A`."""
    pairs_option(parser, "-p", "--param", "parameter; VALUE is JSON or text")
    _file_option(parser, "-P", "--param-file", "param", "JSON object with parameters")
    if annotations:
        pairs_option(parser, "-a", "--annotation", "annotation; VALUE is JSON or text")
        _file_option(parser, "-A", "--annotation-file", "annotation", "JSON object with annotations")


def pairs_option(parser: argparse.ArgumentParser, short: str, name: str, what: str) -> None:
    """An option with a key and a value, as often as wanted."""
    parser.add_argument(
        short, name, nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help=what
    )


def _file_option(parser: argparse.ArgumentParser, short: str, name: str, dest: str, what: str) -> None:
    """A file with such pairs, in its place among them."""
    parser.add_argument(
        short, name, nargs=1, action="append", dest=dest, default=[], metavar="FILE", help=what
    )


def mapping(given: Sequence[Sequence[str]]) -> dict[str, Any]:
    """What pairs and files give together; the last word on a key wins, as with `wsk`."""
    found: dict[str, Any] = {}
    for one in given:
        if len(one) == 1:
            found.update(_object(one[0], _json_file(Path(one[0]))))
        else:
            found[one[0]] = value(one[1])
    return found


def _object(where: str, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise BadRequest(f"{where} must hold a JSON object")
    return content


def _json_file(path: Path) -> Any:
    try:
        return jsontext.parse(path.read_bytes()).value
    except OSError as error:
        raise BadRequest(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise BadRequest(f"{path} is no JSON: {error}") from error


def keyed(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Parameters as the API takes them."""
    return [{"key": key, "value": given} for key, given in values.items()]


def valued(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the API gives as parameters or annotations, by key."""
    return {item["key"]: item["value"] for item in items}


def executable(
    path: Path, kind: str | None, main: str | None, files: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """`exec` of an action from a file of code, an archive, or a folder that becomes one, or `files` of it."""
    if kind is None:
        kind = KINDS.get(path.suffix)
        if kind is None:
            raise UsageError(
                f"the kind of {path} is not clear from its name",
                hint="add --kind nodejs:default, for example",
            )
    try:
        if path.is_dir():
            code = base64.b64encode(zipped(within(path) if files is None else files)).decode()
        elif path.suffix in _BINARY:
            code = base64.b64encode(path.read_bytes()).decode()
        else:
            code = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text: {error}") from error
    return {"kind": kind, "code": code, **({"main": main} if main else {})}


def within(folder: Path) -> dict[str, Path]:
    """All files in a folder, by their paths in it."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def zipped(files: Mapping[str, Path]) -> bytes:
    """An archive of files by their names in it; the same bytes for the same files."""
    import io
    import zipfile

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    return packed.getvalue()


def field_of(found: Mapping[str, Any], field: str | None) -> Any:
    """One field of a document, or all of it."""
    if field is None:
        return found
    if field not in found:
        raise BadRequest(f"there is no field {field!r}", hint=f"fields: {', '.join(found)}")
    return found[field]


def page_options(parser: argparse.ArgumentParser) -> None:
    """`--limit`, `--skip`."""
    parser.add_argument("-l", "--limit", type=int, default=30, help="at most so many (default 30, 0: 200)")
    parser.add_argument("-s", "--skip", type=int, default=0, help="leave out the first ones")
