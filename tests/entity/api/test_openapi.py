"""APIs as OpenAPI 3.0."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from edgewhisk import jsontext
from edgewhisk.entity.api.openapi import openapi
from tests.odd import values

DOCUMENT: dict[str, Any] = {
    "swagger": "2.0", "basePath": "/b", "info": {"title": "t", "version": "1"},
    "securityDefinitions": {"k": {"type": "apiKey", "in": "query", "name": "key", "x-edge-keys": ["secret"]}},
    "definitions": {"Book": {"type": "object", "properties": {"of": {"$ref": "#/definitions/Book"}}}},
    "paths": {"/club/{book}": {
        "parameters": [{"name": "book", "in": "path", "required": True, "type": "string"}],
        "get": {"operationId": "getClubBook", "x-openwhisk": {"url": "http://h"},
                "responses": {"200": {"description": "one", "schema": {"$ref": "#/definitions/Book"}}}},
        "put": {"parameters": [{"name": "x", "in": "body", "schema": {"$ref": "#/definitions/Book"}}]},
        "post": {"parameters": [{"name": "f", "in": "formData", "type": "integer"}]},
    }},
}  # fmt: skip


def test_a_document_is_valid_and_keeps_its_secrets() -> None:
    found = openapi(DOCUMENT, "http://h/api/guest/b/")
    assert set(found) == {"openapi", "info", "servers", "paths", "components", "security"}
    assert found["servers"] == [{"url": "http://h/api/guest/b"}]
    item = found["paths"]["/club/{book}"]
    assert item["get"]["responses"]["200"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Book"
    }
    assert list(item["post"]["requestBody"]["content"]) == ["application/x-www-form-urlencoded"]
    assert b"secret" not in jsontext.dumps(found)


@given(values(900), values(900))
def test_odd_documents_are_shown(paths: Any, schema: Any) -> None:
    deep = {"/a": {"get": {"parameters": [{"in": "body", "schema": schema}], "responses": paths}}}
    jsontext.dumps(openapi({"paths": paths, "definitions": schema}, "http://h"))
    jsontext.dumps(openapi({"paths": deep}, "http://h"))
