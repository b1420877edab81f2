"""Documents as OpenWhisk's route management writes them."""

from __future__ import annotations

import pytest

from edgewhisk.entity.api import swagger
from edgewhisk.entity.api.swagger import ApiEndpoint


def endpoint(path: str, verb: str = "get", action: str = "a", secret: object = None) -> ApiEndpoint:
    return ApiEndpoint("", "/b", path, verb, "http://h", "guest", "", action, secret, None)


@pytest.mark.parametrize(
    ("verb", "path", "name"),
    [("get", "/world", "getWorld"), ("POST", "/club/{book}", "postClubBook"), ("get", "/", "get"),
     ("put", "/a-b_c/D.e", "putA-b_cDE"), ("get", "/ÄB", "getB")],
)  # fmt: skip
def test_ids_of_operations(verb: str, path: str, name: str) -> None:
    assert swagger.operation_id(verb, path) == name


def test_what_is_added_is_removed_again() -> None:
    empty = swagger.empty("/b", "")
    one = swagger.added(empty, endpoint("/x"), "json")
    two = swagger.added(one, endpoint("/x", "post", secret="s"), "http")
    assert swagger.removed(two, "/x", "post") == one
    assert swagger.removed(two, "/x", "")["paths"] == {}
    assert swagger.cases(swagger.removed(two, "/x", "")) == []
    assert swagger.added(two, endpoint("/x", "post", secret="s"), "http") == two


def test_paths_that_look_alike_keep_their_own_actions() -> None:
    made = swagger.added(swagger.empty("/b", ""), endpoint("/a/b", action="one"), "json")
    made = swagger.added(made, endpoint("/a.b", action="two"), "json")
    ids = [operation["operationId"] for _, _, operation in swagger.operations(made)]
    assert ids == ["getAB", "getAB_"]
    made = swagger.removed(made, "/a/b", "get")
    assert [case["operations"] for case in swagger.cases(made)] == [["getAB_"]]
