"""APIs: paths of a namespace in front of web actions, made by the actions that `wsk api` calls."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.path.gateway import Answer, Gateway, gateway, until

ECHO = "function main(p) { return {body: p} }"
PLAIN = "function main(p) { return p }"
KEY = "0123456789abcdef"


@pytest.fixture
def apis(made: Gateway) -> Iterator[Gateway]:
    """A namespace with two web actions and no API."""
    for name, code in (("echo", ECHO), ("plain", PLAIN)):
        made.action(name, code, annotations=[{"key": "web-export", "value": True}])
    yield made
    for api in manage(made, "getApi").body["apis"]:
        manage(made, "deleteApi", "DELETE", basepath=api["value"]["apidoc"]["basePath"])


def manage(made: Gateway, verb: str, method: str = "GET", body: Any = None, **query: str) -> Answer:
    given = {"accesstoken": "DUMMY TOKEN", "spaceguid": "x", **query}
    return made.call(method, f"/api/v1/web/whisk.system/apimgmt/{verb}.http?{urlencode(given)}", body)


def create(
    made: Gateway, base: str, path: str, verb: str, action: str, kind: str = "json", **more: Any
) -> Answer:
    """What `wsk api create BASE PATH VERB ACTION --response-type KIND` sends."""
    about = {
        "name": action, "namespace": "_", "backendMethod": verb, "authkey": made.auth,
        "backendUrl": f"http://127.0.0.1:{made.port}/api/v1/web/_/default/{action}.http",
    }  # fmt: skip
    about |= {key: more.pop(key) for key in ("secureKey",) if key in more}
    apidoc = {
        "namespace": "_", "gatewayBasePath": base, "gatewayPath": path, "gatewayMethod": verb,
        "id": f"API:_:{base}", "action": about,
    }  # fmt: skip
    return manage(made, "createApi", "POST", {"apidoc": apidoc | more}, responsetype=kind)


def test_wskdeploy_puts_a_scheme_before_a_scheme(apis: Gateway) -> None:
    url = f"https://http://127.0.0.1:{apis.port}/api/v1/web/_/default/plain.http"
    action = {"name": "plain", "namespace": "_", "backendMethod": "GET", "authkey": "x", "backendUrl": url}
    apidoc = {"namespace": "_", "gatewayBasePath": "club", "gatewayPath": "/all", "gatewayMethod": "GET",
              "action": action, "apiName": "c"}  # fmt: skip
    assert manage(apis, "createApi", "POST", {"apidoc": apidoc | {"gatewayBasePath": "/club"}}).status == 200
    assert call(apis, "GET", "/club/all").status == 200


def described(path: str) -> dict[str, Any]:
    return {"pathParameters": [{"name": path, "in": "path", "required": True, "type": "string"}]}


def call(made: Gateway, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    return made.call(method, f"/api/guest{path}", body, **{"Authorization": "", **headers})


def test_no_api_is_an_empty_list(made: Gateway) -> None:
    assert manage(made, "getApi").body == {"apis": []}
    assert made.call("GET", "/api/v1/web/whisk.system/apimgmt/getApi?").body == {"apis": []}
    path = "whisk.system/actions/apimgmt/getApi?blocking=true&result=true"
    assert made.ok("POST", path, {}) == {"apis": []}


def test_an_api_is_made_read_and_served(apis: Gateway) -> None:
    made = create(apis, "/hello", "/world", "GET", "plain")
    assert (made.status, made.body["gwApiUrl"]) == (200, f"http://127.0.0.1:{apis.port}/api/guest/hello")
    operation = made.body["apidoc"]["paths"]["/world"]["get"]
    assert (operation["operationId"], operation["x-openwhisk"]["namespace"]) == ("getWorld", "guest")
    assert create(apis, "/hello", "/world", "POST", "echo", "http").status == 200
    (found,) = manage(apis, "getApi", basepath="/hello").body["apis"]
    assert sorted(found["value"]["apidoc"]["paths"]["/world"]) == ["get", "post"]
    got = call(apis, "GET", "/hello/world?x=1")
    assert (got.status, got.body["x"], got.body["__ow_path"]) == (200, "1", "")
    posted = call(apis, "POST", "/hello/world", {"a": [1]})
    assert (posted.body["a"], posted.body["__ow_path"]) == ([1], "/hello/world")
    deeper = call(apis, "GET", "/hello/world/a/b/")
    assert deeper.body["__ow_path"] == "/a/b/"


def test_path_parameters_reach_the_action(apis: Gateway) -> None:
    refused = create(apis, "/club", "/{book}", "GET", "plain", **described("book"))
    assert (refused.status, refused.body["error"]) == (
        502,
        "API creation failure: The action must use a response type of '.http' in order to receive the path "
        "parameters.",
    )
    refused = create(apis, "/club", "/{book}", "GET", "echo", "http", **described("page"))
    assert "The parameter 'book' defined in path '/{book}' does not match" in refused.body["error"]
    assert create(apis, "/club", "/{book}", "GET", "echo", "http", **described("book")).status == 200
    assert create(apis, "/club", "/new", "GET", "plain").status == 200
    assert call(apis, "GET", "/club/moby%20dick").body["__ow_path"] == "/club/moby dick"
    assert call(apis, "GET", "/club/new").body["__ow_path"] == ""  # a path without parameters comes first


def test_what_there_is_not(apis: Gateway) -> None:
    create(apis, "/a", "/b", "GET", "plain")
    for method, path, text in (
        ("GET", "/a/c", "Error: Not found."),
        ("GET", "/a", "Error: Not found."),
        ("POST", "/a/b", "Error: Whoops. Verb not supported."),
    ):
        answer = call(apis, method, path)
        assert (answer.status, answer.body) == (404, {"status": 404, "message": text})
    assert apis.call("GET", "/api/nobody/a/b").status == 404
    assert apis.call("GET", "/api/v1/a/b", Authorization="").status == 401  # the REST API's, as ever
    apis.action("plain", PLAIN)
    assert call(apis, "GET", "/a/b").status == 200  # annotations stay
    apis.ok("DELETE", "_/actions/plain")
    assert call(apis, "GET", "/a/b").status == 404


def test_secured_actions_get_their_secret_from_the_api(apis: Gateway) -> None:
    for name, secret in (("word", "open sesame"), ("number", 8215307511320898)):
        annotations = [{"key": "web-export", "value": True}, {"key": "require-whisk-auth", "value": secret}]
        apis.action(name, PLAIN, annotations=annotations)
        create(apis, "/s", f"/{name}", "GET", name, secureKey=secret)
        create(apis, "/open", f"/{name}", "GET", name)
        assert call(apis, "GET", f"/s/{name}").status == 200
        assert call(apis, "GET", f"/s/{name}", **{"X-Require-Whisk-Auth": "x"}).status == 200
        assert call(apis, "GET", f"/open/{name}").status == 401
        assert call(apis, "GET", f"/open/{name}", **{"X-Require-Whisk-Auth": str(secret)}).status == 200


def test_cors_is_as_the_api_says(apis: Gateway) -> None:
    create(apis, "/c", "/on", "GET", "plain")
    before = call(apis, "OPTIONS", "/c/on", **{"Access-Control-Request-Headers": "x-a"})
    allowed = {key: before.headers.get(key) for key in
               ("access-control-allow-origin", "access-control-allow-headers")}  # fmt: skip
    assert (before.status, list(allowed.values())) == (200, ["*", "x-a"])
    assert call(apis, "GET", "/c/on").headers["access-control-allow-origin"] == "*"
    document = manage(apis, "getApi", basepath="/c").body["apis"][0]["value"]["apidoc"]
    document["x-ibm-configuration"]["cors"] = {"enabled": False}
    swagger(apis, document)
    assert "access-control-allow-origin" not in call(apis, "GET", "/c/on").headers
    assert call(apis, "OPTIONS", "/c/on").status == 404


def swagger(made: Gateway, document: Any) -> Answer:
    """What `wsk api create -c FILE` sends."""
    return manage(made, "createApi", "POST", {"apidoc": {"namespace": "_", "swagger": json.dumps(document)}})


def test_a_document_may_ask_for_a_key(apis: Gateway) -> None:
    url = "https://elsewhere.example/api/v1/web/guest/default/plain.json"
    document = {
        "swagger": "2.0", "basePath": "/k", "info": {"title": "keyed", "version": "1"},
        "securityDefinitions": {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key",
                                        "x-edge-keys": [KEY]}},
        "paths": {"/a": {"get": {"operationId": "a", "x-openwhisk": {
            "url": url, "namespace": "guest", "package": "", "action": "plain"}}}},
    }  # fmt: skip
    assert swagger(apis, document).status == 200
    assert call(apis, "GET", "/k/a").body == {"status": 401, "message": "Error: Unauthorized"}
    assert call(apis, "GET", "/k/a", **{"X-API-Key": "x" * 16}).status == 401
    assert call(apis, "GET", "/k/a", **{"X-API-Key": KEY}).status == 200
    answer = manage(apis, "getApi", basepath="keyed", outputFormat="openapi").body["apis"][0]["value"]
    opened = answer["apidoc"]
    assert (opened["openapi"], opened["servers"]) == ("3.0.3", [{"url": answer["gwApiUrl"]}])
    assert opened["components"]["securitySchemes"] == {
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    }


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"basePath": ""}, "swagger is missing the basePath field."),
        ({"basePath": "k"}, "a base path begins with /"),
        ({"basePath": "/{k}"}, "cannot have parameters"),
        ({"info": None}, "swagger is missing the info field."),
        ({"paths": {"/a": []}}, "paths./a must be an object"),
        ({"paths": {"/a": {"get": {}}}}, "neither an invoke with a target-url nor an x-openwhisk.url"),
        ({"paths": {"/a": {"get": {"x-openwhisk": {"url": "http://x/y"}}}}}, "a web action of this gateway"),
        ({"paths": {"/a{b": {"get": {}}}}, "all that is between two slashes"),
        ({"securityDefinitions": {"o": {"type": "oauth2"}}}, "of the type apiKey"),
        ({"securityDefinitions": {"o": {"type": "apiKey"}}}, "x-edge-keys"),
        ({"x-ibm-rate-limit": [{"rate": 1}]}, "x-ibm-rate-limit is not served"),
        ({"x-ibm-configuration": {"assembly": {"execute": [{"operation-switch": {"case": 1}}]}}}, "a list"),
        ({"x-ibm-configuration": []}, "must be an object"),
    ],
)
def test_documents_that_cannot_be_served_are_refused(
    apis: Gateway, change: dict[str, Any], text: str
) -> None:
    document = {"swagger": "2.0", "basePath": "/k", "info": {"title": "t"}, "paths": {"/z": {}}}
    answer = swagger(apis, document | change)
    assert (answer.status, text in answer.body["error"]) == (502, True), answer.body
    assert manage(apis, "getApi").body == {"apis": []}


@pytest.mark.parametrize(
    ("apidoc", "text"),
    [
        (None, "apidoc is required."),
        ("{", "apidoc field cannot be parsed. Ensure it is valid JSON."),
        ([1], "apidoc field must be"),
        ({}, "apidoc is required."),
        ({"a": 1}, "apidoc is missing the namespace field"),
        ({"namespace": "_"}, "apidoc is missing the gatewayBasePath field"),
        ({"namespace": "_", "swagger": "{"}, "swagger field cannot be parsed. Ensure it is valid JSON."),
        ({"namespace": "_", "swagger": "{}", "gatewayBasePath": "/"}, "mutually exclusive"),
    ],
)
def test_requests_that_say_too_little_are_refused(apis: Gateway, apidoc: Any, text: str) -> None:
    answer = manage(apis, "createApi", "POST", {"apidoc": apidoc})
    assert (answer.status, text in answer.body["error"]) == (502, True), answer.body


def test_parts_and_whole_apis_are_deleted(apis: Gateway) -> None:
    for verb in ("GET", "POST"):
        create(apis, "/d", "/e", verb, "plain", apiName="named")
    assert manage(apis, "deleteApi", "DELETE").body["error"] == "basepath is required."
    missing = manage(apis, "deleteApi", "DELETE", basepath="/d", relpath="/x", operation="GET")
    assert missing.body["error"] == (
        "API deletion failure: path '/x' with operation 'get' does not exist in the API"
    )
    assert manage(apis, "deleteApi", "DELETE", basepath="named", relpath="/e", operation="GET").body == {}
    assert (call(apis, "GET", "/d/e").status, call(apis, "POST", "/d/e", {}).status) == (404, 200)
    assert manage(apis, "deleteApi", "DELETE", basepath="/d", relpath="/e", operation="POST").status == 200
    assert manage(apis, "getApi").body == {"apis": []}  # nothing is left of it
    gone = manage(apis, "deleteApi", "DELETE", basepath="/d").body["error"]
    assert gone == "API deletion failure: API '/d' does not exist."


def test_strangers_manage_nothing(apis: Gateway) -> None:
    for verb, method in (("getApi", "GET"), ("createApi", "POST"), ("deleteApi", "DELETE")):
        path = f"/api/v1/web/whisk.system/apimgmt/{verb}.http?spaceguid=guest&basepath=/"
        assert apis.call(method, path, Authorization="").status == 401


def test_one_subject_does_not_see_the_apis_of_another_and_they_survive(tmp_path: Path) -> None:
    with gateway(tmp_path) as own:
        own.action("plain", PLAIN, annotations=[{"key": "web-export", "value": True}])
        create(own, "/a", "/b", "GET", "plain")
        key = base64.b64encode(own.subject("other").encode()).decode()
        path = "/api/v1/web/whisk.system/apimgmt/getApi.http"
        until(lambda: own.call("GET", path, Authorization=f"Basic {key}").status == 200)
        assert own.call("GET", path, Authorization=f"Basic {key}").body == {"apis": []}
        own.kill()
        own.start()
        assert call(own, "GET", "/a/b").status == 200


@pytest.mark.parametrize("levels", [895, 950, 1010, 3000])
def test_a_deep_document_is_no_end_of_the_list(apis: Gateway, levels: int) -> None:
    deep = '{"a":' * levels + "1" + "}" * levels
    text = f'{{"basePath": "/k", "info": {{"title": "t"}}, "paths": {{"/x": {{}}}}, "deep": {deep}}}'
    answer = manage(apis, "createApi", "POST", {"apidoc": {"namespace": "_", "swagger": text}})
    listed = len(manage(apis, "getApi").body["apis"])
    if levels < 900:
        assert (answer.status, listed) == (200, 1)
    else:
        assert (answer.status, listed) == (502, 0)
        assert "deeper than 900 levels" in answer.body["error"]


def test_an_api_has_a_limit(apis: Gateway) -> None:
    paths = {f"/p{number}": {"get": {"x-openwhisk": {"url": "http://x/api/v1/web/guest/default/plain.json"}}}
             for number in range(501)}  # fmt: skip
    document = {"swagger": "2.0", "basePath": "/k", "info": {"title": "t"}, "paths": paths}
    assert "at most 500 operations" in swagger(apis, document).body["error"]
    del paths["/p500"]
    assert swagger(apis, document).status == 200
    assert call(apis, "GET", "/k/p499").status == 200
