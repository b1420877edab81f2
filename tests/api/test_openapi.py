"""The document tells what is served, and what is served keeps to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from edgewhisk.api.openapi import openapi
from edgewhisk.api.quart_adapter import create_app
from edgewhisk.api.services import Services
from edgewhisk.api.swagger import swagger
from edgewhisk.entity.limits import Limits
from tests.path.gateway import Gateway, gateway, until

OWN = {"/api/v1/namespaces/<namespace>/limits/<path:inner>",  # always an error
       "/edgewhisk/status", "/api-docs", "/docs", "/api/v1/docs", "/invokers", "/invokers/healthy/count",
       "/invokers/ready", "/api/v1/devices/<namespace>/<trigger>", "/edgewhisk/dead-letters",
       "/edgewhisk/dead-letters/<key>", "/edgewhisk/dead-letters/<key>/retry", "/edgewhisk/commands",
       "/edgewhisk/commands/<key>", "/edgewhisk/commands/<key>/retry", "/edgewhisk/broker/clients",
       "/edgewhisk/broker/clients/<path:key>", "/edgewhisk/broker/retained/<path:key>"}  # fmt: skip
schema = schemathesis.openapi.from_dict(openapi())


def test_every_route_is_described() -> None:
    nothing: Any = None
    services = Services(**{key.name: nothing for key in fields(Services)} | {"limits": Limits()})
    served = {
        (re.sub(r"<(?:path:)?(\w+)>", r"{\1}", str(rule)), method.lower())
        for rule in create_app(services).url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if str(rule) not in OWN and not re.search("/web/|<api:", str(rule))
    }
    described = {
        (path, method)
        for path, item in openapi()["paths"].items()
        for method in item
        if method != "parameters" and "/web/" not in path
    }
    assert served == described


def test_the_document_is_served(made: Gateway) -> None:
    assert made.call("GET", "/api/v1/openapi", Authorization="").body == openapi()
    assert made.call("GET", "/api/v1/api-docs", Authorization="").body == swagger()


DEFINITIONS = swagger()["definitions"]


def fits(value: Any, name: str) -> bool:
    schema = {"$ref": f"#/definitions/{name}", "definitions": DEFINITIONS}
    return jsonschema_rs.is_valid(schema, value)


def test_the_swagger_document_defines_what_it_names() -> None:
    text = json.dumps(swagger())
    named = set(re.findall(r'"#/definitions/(\w+)"', text))
    assert named <= set(DEFINITIONS)
    assert {"ActionMeta", "ActionExecMeta", "RuleMeta", "TriggerMeta", "Action", "EntityBrief"} <= set(
        DEFINITIONS
    )
    base = swagger()["basePath"]
    there = {f"{base}{path}" for path in swagger()["paths"] if "/web/" not in path}
    assert there == {path for path in openapi()["paths"] if path.startswith(f"{base}/namespaces")}


def test_what_is_served_fits_the_definitions(made: Gateway, things: None) -> None:
    made.ok("PUT", "_/packages/sp", {})
    made.ok("PUT", "_/triggers/st", {})
    made.ok("PUT", "_/rules/sr", {"trigger": "/_/st", "action": "/_/a"})
    started = made.ok("POST", "_/actions/a", {})["activationId"]
    for plural, name, whole, listed in (
        ("actions", "a", "Action", "ActionMeta"),
        ("packages", "sp", "Package", "Package"),
        ("triggers", "st", "Trigger", "TriggerMeta"),
        ("rules", "sr", "Rule", "RuleMeta"),
        ("activations", started, "Activation", "ActivationBrief"),
    ):
        until(lambda path=f"_/{plural}/{name}": made.call("GET", path).status == 200)  # type: ignore[misc]
        assert fits(made.ok("GET", f"_/{plural}/{name}"), whole)
        assert all(fits(item, listed) and fits(item, "EntityBrief") for item in made.ok("GET", f"_/{plural}"))
    assert fits({"sname": "foo", "spublish": False}, "Action") is False  # as upstream's own test says


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway of its own: what generated requests make would be in the way of other tests."""
    with gateway(tmp_path_factory.mktemp("openapi"), '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n') as running:
        yield running


@pytest.fixture(scope="module")
def things(made: Gateway) -> None:
    """What generated requests can find."""
    made.action("a", "function main(p) { return p }")


@schema.parametrize()
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_served_keeps_to_the_document(
    case: schemathesis.Case[Any], made: Gateway, things: None
) -> None:
    if "namespace" in (case.path_parameters or {}):
        case.path_parameters["namespace"] = "_" if case.path.count("web") == 0 else "guest"
    user, _, key = made.auth.partition(":")
    response = case.call(base_url=f"http://127.0.0.1:{made.port}", auth=(user, key), timeout=30)
    case.validate_response(
        response,
        checks=[
            not_a_server_error,
            content_type_conformance,
            response_schema_conformance,
            status_code_conformance,
        ],
    )
    assert "x-request-id" in {name.lower() for name in response.headers}
