"""What somebody without a key is told: nothing of what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewhisk.api.http import failure
from edgewhisk.errors import StorageError
from tests.path.gateway import Gateway, gateway


@pytest.mark.parametrize("door", ["web", "we%62"], ids=["hot", "quart"])
def test_web_paths_do_not_tell_who_is_here(made: Gateway, door: str) -> None:
    made.action("kept", "function main() { return {} }")
    told = {
        (answer.status, answer.body["error"])
        for path in (
            "guest/default/kept.json",  # not exported
            "guest/default/nope.json",
            "guest/nope/nope.json",
            "nobody/default/kept.json",
            "nobody/nope/nope.json",
            "whisk.system/mqtt/message.json",
            "-/default/a.json",
        )
        for answer in [made.call("GET", f"/api/v1/{door}/{path}", Authorization="")]
    }
    assert told == {(404, "The requested resource does not exist.")}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "path",
    ["nope", "namespaces/_", "namespaces/_/", "namespaces/_/nope", "namespaces/_/actions/p/a/b",
     "namespaces/guest/actions//a", "web/guest", "web/guest/a.json"],
)  # fmt: skip
def test_who_asks_comes_before_what_is_there(made: Gateway, method: str, path: str) -> None:
    assert made.call(method, f"/api/v1/{path}", Authorization="").status == 401
    assert made.call(method, f"/api/v1/{path}", Authorization="Basic eDp5").status == 401
    assert made.call(method, f"/api/v1/{path}").status == 404


def test_a_refusal_of_the_disk_names_no_file() -> None:
    reply = failure(StorageError("No space left on the disk", where="/var/lib/edgewhisk/buffer/x"), "id")
    assert (reply.status, b"/var" in reply.body, b"disk" in reply.body) == (507, False, True)


def test_only_the_service_reads_what_it_keeps(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "client_id").write_text("edgewhisk-old")  # readable for all, as it once was
    with gateway(tmp_path, '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n') as made:
        made.ok("PUT", "_/triggers/t", {})
        open_to_others = [str(path) for path in state.rglob("*") if path.lstat().st_mode & 0o077]
        assert [path for path in open_to_others if "/cache/" not in path] == []
        assert (state / "url").exists()
