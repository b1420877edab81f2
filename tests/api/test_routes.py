"""The table of routes: what the router answers from it, and that Quart finds the same in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import HTTPException

from edgewhisk.api.handlers.web import PREFIX
from edgewhisk.api.quart_adapter import create_app
from edgewhisk.api.router import find
from edgewhisk.api.routes import ROUTES
from edgewhisk.api.services import Services
from edgewhisk.entity.limits import Limits
from tests.path.gateway import Gateway, until

nothing: Any = None
services = Services(**{key.name: nothing for key in fields(Services)} | {"limits": Limits()})
quart = create_app(services)
WORDS = sorted({word for route in ROUTES for word in route.path.split("/") if "<" not in word})


class Telling(Gateway):
    """A gateway whose log ends with what was loaded of Quart."""

    command = (
        "-c",
        "import atexit, sys\n"
        "from edgewhisk.cli import main\n"
        "found = lambda: sorted({'quart', 'werkzeug'} & set(sys.modules))\n"
        "atexit.register(lambda: print('loaded:', *found(), file=sys.stderr))\n"
        "sys.exit(main(sys.argv[1:]))",
        "run",
    )

    def loaded(self) -> list[str]:
        """End it; what was loaded."""
        self.stop()
        return (self.folder / "log").read_text().rpartition("loaded:")[2].split()


def devices_post(made: Gateway) -> None:
    """Only what the operator does before goes elsewhere: none of it loads Quart either."""
    made.feed("posts", "http/post")
    command = [sys.executable, "-m", "edgewhisk", "device", "token", "--trigger", "posts", "--device", "d"]
    options = ["--config", str(made.config), "--json"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    bearer = f"Bearer {json.loads(done.stdout)['token']}"

    def post(body: Any) -> int:
        return made.call("POST", "/api/v1/devices/guest/posts", body, Authorization=bearer).status

    until(lambda: post({"c": 1}) == 202)
    assert [post([{"c": 2}, {"c": 3}]), post(b"{"), post(b" " * (1 << 20) + b"{}")] == [202, 400, 413]


def all_is_asked(made: Gateway) -> None:
    """Each route once, with names that may be of nothing."""
    for route in ROUTES:
        path = re.sub("<[^>]+>", "a", route.path.replace("<namespace>", "_"))
        if route.method not in ("HEAD", "OPTIONS"):
            body: Any = {} if route.method in ("PUT", "POST", "PATCH") else None
            assert made.call(route.method, path, body).status < 500


def options_are_asked(made: Gateway) -> None:
    """The control: what is left to Quart loads it."""
    assert made.call("GET", "%5F/actions").status == 200  # but this is not
    assert made.call("OPTIONS", "_/actions").body == "OK"


@pytest.mark.parametrize(
    ("ask", "loaded"),
    [(devices_post, []), (all_is_asked, []), (options_are_asked, ["quart", "werkzeug"])],
    ids=["devices", "all", "options"],
)
def test_only_what_is_left_to_quart_loads_it(
    tmp_path: Path, ask: Callable[[Gateway], None], loaded: list[str]
) -> None:
    made = Telling(tmp_path, '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n')
    try:
        ask(made.start())
        assert made.loaded() == loaded
    finally:
        made.stop()


@given(
    st.sampled_from(ROUTES).map(lambda route: (route.method, route.path))
    | st.tuples(
        st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]),
        st.lists(st.sampled_from([*WORDS, "<a>", "."]), min_size=1, max_size=8)
        .map("/".join)
        .map("/".__add__),
    ),
    st.lists(st.sampled_from(["_", "a", "a.b", "..", "a/b", "/a", "", "@&-"]), min_size=3, max_size=3),
    st.sampled_from(["", "/", "//", "/x", "x"]),
)
def test_quart_finds_what_the_router_finds(asked: tuple[str, str], names: list[str], end: str) -> None:
    method, path = asked
    for name in names:
        begin, mark, rest = path.partition("<")
        path = begin + name + rest.partition(">")[2] if mark else path
    path += end
    mine = find(method, path.encode())
    empty = isinstance(mine, partial) and mine.keywords.get("path") == ""
    if (
        path.startswith("//") or path == PREFIX or empty
    ):  # Quart takes several slashes for one, and no empty rest
        return
    try:
        endpoint, values = quart.url_map.bind("localhost").match(path, method)
    except HTTPException:
        assert mine is None
    else:
        assert isinstance(mine, partial)
        handler = next(
            partial(route.handler) for route in ROUTES if endpoint == f"{route.method} {route.path}"
        )
        assert (mine.func, mine.keywords) == (handler.func, {**handler.keywords, **values})
