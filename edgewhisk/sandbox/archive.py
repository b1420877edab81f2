"""An action's code as files: one source text, or a zip archive by OpenWhisk's rules. Pure.

Raises `MalformedContent` for an archive that can never be loaded, so that it is refused when it is created.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import stat
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edgewhisk import jsontext
from edgewhisk.entity.exec import CodeExec
from edgewhisk.entity.parameters import Parameters
from edgewhisk.errors import MalformedContent
from edgewhisk.sandbox.outcome import NO_CODE, LoadFailure

if TYPE_CHECKING:
    import zipfile  # loaded with the first archive

MOST_FILES: Final = 10_000
MOST_BYTES: Final = 64 << 20  # of all files, unpacked
MOST_RATIO: Final = 200  # unpacked to packed bytes of one file over 1 MiB; text reaches 20
_SMALL: Final = 1 << 20
_FAILED: Final = "Initialization has failed due to: "
_BROKEN: Final = (
    zlib.error, EOFError, ValueError, RuntimeError, NotImplementedError, OSError,
    OverflowError, KeyError, MemoryError, IndexError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a language's code has its entry point."""

    plain: str  # name of the one file that source text becomes: "main.js"
    entry: str  # the file of an archive that is loaded: "index.js"
    package: str = ""  # JSON file whose "main" names another entry: "package.json"
    names_files: bool = False  # whether an action's `main` may be "file.function" in an archive


def files_of(code: str, binary: bool, layout: Layout) -> dict[str, bytes]:
    """The files by path."""
    return unzip(decode(code)) if binary else {layout.plain: code.encode()}


def split_main(main: str, binary: bool, layout: Layout) -> tuple[str, str]:
    """(file, function) of an action's `main`: OpenWhisk's "file.function" ends the file at the first dot."""
    if not (binary and layout.names_files and "." in main):
        return "", main
    file, _, function = main.partition(".")
    return file, function


def entry_of(files: Mapping[str, bytes], layout: Layout, file: str = "") -> str:
    """The file to be loaded, `file` if it is named; raises `MalformedContent` if the archive has none."""
    if file:
        for candidate in (file, f"{file}.js", f"{file}.cjs", f"{file}.mjs", f"{file}/index.js"):
            if candidate in files:
                return candidate
        raise MalformedContent(f"'main' names the file {file!r}, which is not in the archive")
    if set(files) == {layout.plain}:
        return layout.plain
    named = _named_entry(files.get(layout.package, b"")) if layout.package in files else ""
    for candidate in (named, f"{named}.js", f"{named}/index.js") if named else (layout.entry,):
        if candidate in files:
            return candidate
    wanted = f"{layout.package} names {named!r}, which" if named else layout.entry
    hint = f" or a {layout.package} that names the entry" if layout.package and not named else ""
    raise MalformedContent(f"the archive must contain {wanted}{' at its root' if not named else ''}{hint}")


def bundle_of(code: CodeExec, layout: Layout, main: str, pattern: str, parameters: Parameters) -> bytes:
    """What a guest loads for an action; raises `LoadFailure`.

    `main` is the usual entry point's name, `pattern` what one may look like.
    """
    if not code.code or code.main == "":
        raise LoadFailure(NO_CODE)
    file, function = split_main(code.main or main, code.binary, layout)
    if code.main is not None and not re.fullmatch(pattern, function):
        raise LoadFailure(f"{_FAILED}'main' must name a function, not {code.main!r}")
    try:
        files = files_of(code.code, code.binary, layout)
        entry = entry_of(files, layout, file)
    except MalformedContent as error:
        raise LoadFailure(f"{_FAILED}{error.reason}") from error
    return bundle(files, entry, function, parameters.environment())


def bundle(files: Mapping[str, bytes], entry: str, main: str, environment: Mapping[str, Any]) -> bytes:
    """What a guest loads: `{"files", "entry", "main", "env"}`; a file is text or `{"base64"}`."""
    return jsontext.dumps(
        {
            "files": {path: _content(data) for path, data in files.items()},
            "entry": entry,
            "main": main,
            "env": environment,
        }
    )


def decode(code: str) -> bytes:
    """The bytes of base64 code."""
    try:
        return base64.b64decode(code, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedContent(f"the code is not valid base64: {error}") from error


def is_zip(code: str) -> bool:
    """Whether base64 code is a zip archive, and not just any text of these letters."""
    import zipfile

    return zipfile.is_zipfile(io.BytesIO(decode(code)))


def unzip(data: bytes) -> dict[str, bytes]:
    """The files of a zip archive, each with a plain relative path."""
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check_size(members)
            return _read(archive, members)
    except MalformedContent:
        raise
    except (zipfile.BadZipFile, *_BROKEN) as error:
        raise MalformedContent(f"the code is base64 but no zip archive that can be read: {error}") from error


def _check_size(members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MOST_FILES:
        raise MalformedContent(f"the archive has {len(members)} files; at most {MOST_FILES} go")
    if (total := sum(member.file_size for member in members)) > MOST_BYTES:
        raise MalformedContent(f"the archive unpacks to {total} bytes; at most {MOST_BYTES} go")
    for member in members:
        if member.file_size > _SMALL and member.file_size > MOST_RATIO * max(1, member.compress_size):
            raise MalformedContent(f"{member.filename!r} in the archive is packed too tightly to be code")


def _read(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    left = MOST_BYTES
    for member in members:
        path = _path(member)
        with archive.open(member) as file:
            files[path] = file.read(left + 1)
        left -= len(files[path])
        if left < 0:  # a member that is larger than its header says
            raise MalformedContent(f"the archive unpacks to more than {MOST_BYTES} bytes")
    return files


def _path(member: zipfile.ZipInfo) -> str:
    name = member.filename.removeprefix("./")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise MalformedContent(f"{name!r} in the archive is a symbolic link; pack the file itself")
    parts = name.split("/")
    if "\\" in name or "\0" in name or ":" in parts[0] or not all(parts) or {"..", "."} & set(parts):
        raise MalformedContent(f"{name!r} in the archive is no plain relative path")
    return name


def _named_entry(package: bytes) -> str:
    try:
        manifest = jsontext.parse_odd(package).value
    except jsontext.NotJson as error:
        raise MalformedContent(f"package.json in the archive is not JSON: {error}") from error
    named = manifest.get("main") if isinstance(manifest, dict) else None
    return named.removeprefix("./").rstrip("/") if isinstance(named, str) else ""


def _content(data: bytes) -> str | dict[str, str]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
