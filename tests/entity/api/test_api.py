"""Which path of an API a request is for, whatever the paths and requests are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.entity.api.api import Api, Routing, parts_of
from edgewhisk.errors import BadRequest
from tests.odd import values

URL = "https://h/api/v1/web/guest/default/a.http$(request.path)"
TEXTS = st.text("ab", min_size=1, max_size=2)
PATHS = st.lists(st.one_of(TEXTS, st.sampled_from(["{a}", "{b}"])), max_size=4).map(
    lambda x: "/" + "/".join(x)
)
REQUESTS = st.lists(st.text("ab", max_size=2), max_size=5).map(lambda parts: "/" + "/".join(parts))


def api(base: str, *paths: str) -> Api:
    described = [{"name": name, "in": "path"} for name in "ab"]
    item = {"get": {"parameters": described, "x-openwhisk": {"url": URL.removesuffix("$(request.path)")}}}
    return Api.of("guest", {"basePath": base, "info": {"title": "t"}, "paths": dict.fromkeys(paths, item)}, 0)


def fits(template: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    return len(template) == len(parts) and all(
        one == other or (one[0] == "{" and other != "") for one, other in zip(template, parts, strict=True)
    )


@given(st.lists(PATHS, max_size=6), REQUESTS)
def test_the_longest_path_counts_and_the_plainest_of_those(paths: list[str], request: str) -> None:
    made = api("/", *paths)
    found = Routing([made]).find(request)
    parts = parts_of(request)
    fitting = [
        resource.parts for resource in made.resources if fits(resource.parts, parts[: len(resource.parts)])
    ]
    if not fitting:
        assert found is None
        return
    assert found is not None
    _, resource, rest = found
    assert len(resource.parts) == max(map(len, fitting))
    alike = [one for one in fitting if len(one) == len(resource.parts)]
    assert resource.loose == min(sum(part[0] == "{" for part in one) for one in alike)
    assert parts[len(resource.parts) :] == parts_of(rest)
    assert request.endswith(rest)


def test_two_apis_share_a_namespace() -> None:
    routing = Routing([api("/", "/a"), api("/a", "/b"), api("/c/", "/")])
    for path, base, rest in (("/a", "/", ""), ("/a/b/c", "/a", "/c"), ("/a/c", "/", "/c"), ("/c", "/c/", "")):
        found = routing.find(path)
        assert found is not None
        assert (found[0].base_path, found[2]) == (base, rest)
    assert routing.find("/") is None


@given(st.dictionaries(
    st.sampled_from(["basePath", "info", "paths", "securityDefinitions", "x-ibm-configuration"]), values()
))  # fmt: skip
def test_odd_documents_are_served_or_refused(document: dict[str, Any]) -> None:
    try:
        made = Api.of("guest", {"basePath": "/a", "paths": {}} | document, 0)
    except BadRequest:
        return
    assert Api.from_document(made.to_json()) == made


def test_a_target_is_a_web_action_and_no_other_server() -> None:
    for url in ("http://h/x", "http://h/api/v1/web/guest/a", "/api/v1/web/g/p/a", "file:///etc/passwd",
                "http://h/api/v1/web/g/p/a/b", "http://h/api/v1/namespaces/_/actions/a"):  # fmt: skip
        with pytest.raises(BadRequest, match="a web action of this gateway"):
            Api.of("g", {"basePath": "/", "paths": {"/": {"get": {"x-openwhisk": {"url": url}}}}}, 0)
