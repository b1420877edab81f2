"""The table of README.md, line by line: what `wsk` knows is known here, and leaves the same entities.

Where `wsk` is on the PATH it does the same as another subject, and must end with the same exit code.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewhisk import cli
from edgewhisk.cli import main
from tests.path.gateway import Gateway, gateway

README = Path(cli.__file__).with_name("README.md")
ROW = re.compile(r"^\| `([^`]+)` \| (\d+) \| ?(.*)\|$", re.MULTILINE)
WSK = shutil.which("wsk")
CHANGING = {"create", "update", "delete", "bind", "enable", "disable"}
FILES = {
    "hello.js": "function main(p) { console.log('hi'); return {hello: p.name} }",
    "params.json": '{"name": "file", "n": 1.5}',
    "notes.json": '{"description": "from a file"}',
    "list.json": "[1]",
    "odd.txt": "x",
}


class Person:
    """A subject with a home, who types commands."""

    def __init__(self, made: Gateway, folder: Path, name: str) -> None:
        folder.mkdir()
        self.home, self.name, self._port = folder, name, made.port
        assert main(["subject", "add", name, "--config", str(made.config)]) == 0
        self._key = (made.folder / "state" / "subjects" / name).read_text().strip()
        (folder / ".wskprops").write_text(f"APIHOST=http://127.0.0.1:{made.port}\nAUTH={self._key}\n")
        for file, text in FILES.items():
            (folder / file).write_text(text)

    def entities(self) -> dict[str, Any]:
        """All there is, without the times of changes and the name of the namespace."""
        found = {}
        for collection in ("actions", "triggers", "rules", "packages"):
            for one in self._get(f"{collection}?limit=200"):
                document = self._get(f"{collection}/{one['name']}")
                for key in ("updated", "feeds", "actions"):
                    document.pop(key, None)
                for key in ("annotations", "parameters"):
                    document[key] = sorted(document.get(key, []), key=str)
                found[f"{collection}/{one['name']}"] = document
        plain: dict[str, Any] = json.loads(json.dumps(found).replace(self.name, "ns"))
        return plain

    def _get(self, path: str) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/api/v1/namespaces/_/{path}")
        request.add_header("Authorization", f"Basic {b64encode(self._key.encode()).decode()}")
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("wsk"), '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n') as running:
        yield running


def typed(words: list[str], person: Person, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of our command line."""
    monkeypatch.chdir(person.home)
    monkeypatch.setenv("HOME", str(person.home))
    try:
        return main(words)
    except SystemExit as ended:
        return int(ended.code or 0)


def test_what_wsk_knows(
    made: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [one for one in os.environ if one.startswith(("EDGEWHISK", "WSK"))]:
        monkeypatch.delenv(name)
    ours, theirs = (Person(made, tmp_path / name, name) for name in ("person-a", "person-b"))
    rows = ROW.findall(README.read_text())
    assert len(rows) > 90
    for command, code, note in rows:
        words, told = shlex.split(command), re.search(r"`wsk`: (\d+)", note)
        assert (command, typed(words, ours, monkeypatch)) == (command, int(code)), capsys.readouterr()
        if WSK is None:
            continue
        done = subprocess.run(
            [WSK, *words], cwd=theirs.home, capture_output=True, text=True, check=False,
            env={**os.environ, "HOME": str(theirs.home)},
        )  # fmt: skip
        assert (command, done.returncode) == (command, int(told[1] if told else code)), done
        if CHANGING & set(words):
            assert ours.entities() == theirs.entities(), command
    assert {"actions/files", "triggers/apart", "packages/tools"} <= set(ours.entities())
    files = {one["key"]: one["value"] for one in ours.entities()["actions/files"]["parameters"]}
    assert files == {"name": "file", "n": 1.5}


def test_properties_are_kept_in_the_file_of_wsk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "props"
    path.write_text("# mine\nAPIHOST=old\nOTHER=stays\n")
    monkeypatch.setenv("WSK_CONFIG_FILE", str(path))
    assert main(["property", "set", "--apihost", "http://127.0.0.1:9", "-u", "a:b", "--cacert", "c.pem"]) == 0
    kept = ["# mine", "APIHOST=http://127.0.0.1:9", "OTHER=stays"]
    assert path.read_text().splitlines() == [*kept, "AUTH=a:b", f"CACERT={Path('c.pem').absolute()}"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert "a:b" not in capsys.readouterr().out
    assert main(["property", "get", "--auth", "-o", "raw"]) == 0
    assert capsys.readouterr().out == "a:b\n"
    assert main(["property", "unset", "--auth", "--cacert"]) == 0
    assert main(["property", "get", "--auth"]) == 0
    assert "a:b" not in capsys.readouterr().out
    for words in (["set"], ["unset"], ["set", "--auth", "a\nAPIHOST=evil"], ["set", "--apiversion", "v2"]):
        assert main(["property", *words]) == 1
    assert "evil" not in path.read_text()
    monkeypatch.setenv("WSK_CONFIG_FILE", str(tmp_path / "no" / "props"))
    assert main(["property", "set", "--auth", "a:b"]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", ["sdk", "sdk install docker", "sdk install iOS", "sdk install bashauto --stdout"]
)
def test_there_are_no_sdks(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 1
    assert "hint:" in capsys.readouterr().err


@pytest.mark.skipif(WSK is None, reason="wsk is not installed")
def test_wsk_reads_what_property_and_wskprops_write(made: Gateway, tmp_path: Path) -> None:
    assert WSK is not None
    command = [sys.executable, "-m", "edgewhisk", "wskprops", "--config", str(made.config)]
    props = subprocess.run(command, capture_output=True, text=True, check=True)
    (tmp_path / ".wskprops").write_text(props.stdout)
    env = {**os.environ, "HOME": str(tmp_path)}
    assert subprocess.run([WSK, "list"], env=env, capture_output=True, check=False).returncode == 0
