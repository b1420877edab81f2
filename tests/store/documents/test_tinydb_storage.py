"""TinyDB's own public tests, run against the log instead of its storages.

They come from the sdist of the version that is installed, fetched when the test runs; where nothing
can be fetched, `test_artifacts.py` compares every operation with TinyDB's own storage all the same.
Of the suite, all tests that are given a database run, with ours; those that make their own are about
TinyDB's storages, and left out.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest

CONFTEST = """
import pytest
from edgewhisk.store.documents.entity_store import EntityStore


@pytest.fixture
def db(tmp_path):
    store = EntityStore.open(tmp_path)
    store.db.insert_multiple({"int": 1, "char": char} for char in "abc")
    yield store.db
    store.close()


def pytest_collection_modifyitems(items):
    # test_table_repr wants the name of one of TinyDB's two storages.
    items[:] = [
        one
        for one in items
        if ("db" in one.fixturenames or one.path.name == "test_queries.py") and one.name != "test_table_repr"
    ]
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tinydb")
    wanted = f"tinydb=={version('tinydb')}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "tinydb", "-q", wanted]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        pytest.skip(f"the sdist of {wanted} cannot be fetched: {done.stderr.strip()[-200:]}")
    (archive,) = folder.glob("tinydb-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (found,) = folder.glob("tinydb-*/tests")
    (found / "conftest.py").write_text(CONFTEST)
    return found


def test_tinydbs_own_tests_pass(suite: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(suite),
        "-c",
        "/dev/null",
    ]
    files = [str(suite / f"test_{name}.py") for name in ("tinydb", "tables", "queries", "operations")]
    done = subprocess.run([*command, *files], cwd=suite.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 90
    assert "skipped" not in done.stdout
