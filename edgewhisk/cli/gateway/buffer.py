"""The activations and events on disk.

`export` copies all of them into a file, one JSON object a line, whether the gateway runs or not:
what to do before a card is replaced, or when the cloud never comes back.

edgewhisk buffer export /media/usb/plant-7.jsonl
edgewhisk buffer export - | jq -c 'select(.lane == "errors") | .activation'
edgewhisk buffer export --config /mnt/card/etc/edgewhisk/edgewhisk.toml rescued.jsonl
edgewhisk buffer export --directory /mnt/card/var/lib/edgewhisk/store rescued.jsonl
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from edgewhisk.cli.output import complain, document, done
from edgewhisk.cli.parser import add_verb
from edgewhisk.config.loader import load
from edgewhisk.errors import BadRequest, StorageError


def options(parser: argparse.ArgumentParser) -> None:
    """The verb `export`."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    what = "copy all activations into a file of JSON lines"
    own = add_verb(verbs, parser, "export", what)
    own.add_argument("file", metavar="FILE", help="to write to; - is the standard output")
    own.add_argument("--config", type=Path, metavar="FILE", help="configuration of the gateway")
    own.add_argument(
        "--directory", type=Path, metavar="DIR", help="of the buffer, instead of the configured one"
    )
    own.add_argument("--force", action="store_true", help="replace FILE if it is there")
    own.add_argument("--json", action="store_true", help="print JSON only, for scripts")


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Copy; 1 if something could not be read."""
    from edgewhisk.store.export import export

    directory = given.directory or load(given.config, environment).state_dir / "buffer"
    lines = troubles = 0
    with _output(given.file, force=given.force) as file:
        for found in export(directory, directory.parent / "shelf"):
            if found.trouble:
                troubles += 1
                complain(found.trouble)
            else:
                lines += 1
                file.write(found.line + b"\n")
    if given.json and given.file != "-":
        document({"file": given.file, "lines": lines, "troubles": troubles})
    elif given.file != "-":
        done(f"{lines} activations and events in {given.file}")
    return 1 if troubles else 0


@contextlib.contextmanager
def _output(name: str, *, force: bool) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with Path(name).open("wb" if force else "xb") as file:
            os.fchmod(file.fileno(), 0o600)
            yield file
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise BadRequest(f"{name} is there already", hint="--force replaces it") from None
    except OSError as error:
        raise StorageError(f"{name}: {error.strerror}") from error
