"""Manifests: a plan, a deployment, a second one that changes nothing, and its removal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgewhisk.cli.manifest import read
from edgewhisk.errors import BadRequest
from tests.cli.test_nouns import Run, made, run
from tests.path.gateway import Gateway, until

__all__ = ["made", "run"]

MANIFEST = """
project:
  name: plant
  packages:
    plant:
      version: 1.0
      public: true
      inputs:
        host: ${PLANT_HOST}
      annotations: {owner: me}
      dependencies:
        times: {location: /whisk.system/alarms, inputs: {timezone: UTC}}
      actions:
        hello:
          function: hello.js
          runtime: nodejs:default
          inputs:
            name: {type: string, default: you}
            count: {type: integer, value: "$COUNT"}
          limits: {timeout: 5000, memorySize: 128}
          web: true
        inline:
          code: "def main(args):\\n    return {'seen': sorted(args)}\\n"
          runtime: python:default
      sequences:
        both: {actions: "one, inline"}
        one: {actions: hello}
      triggers:
        yearly:
          feed: /whisk.system/alarms/alarm
          inputs: {cron: 0 0 1 1 *}
        bell:
          inputs: {loud: true}
      rules:
        ring: {trigger: bell, action: both}
        silent: {trigger: yearly, action: hello, status: inactive}
    default:
      actions:
        plain: {function: hello.js}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "hello.js").write_text("function main(p) { return {hello: p.name, count: p.count} }")
    path = tmp_path / "manifest.yaml"
    path.write_text(MANIFEST)
    return path


def test_a_manifest(run: Run, made: Gateway, manifest: Path) -> None:
    environment = {"PLANT_HOST": "h", "COUNT": "7"}
    planned = run("deploy", "--dry-run", **environment).stdout
    assert planned.count("+ create") == 11
    assert made.call("GET", "_/packages/plant").status == 404
    assert "deployed: 11 changed, 0 as they were" in run("deploy", **environment).stdout
    package = made.ok("GET", "_/packages/plant")
    assert (package["publish"], package["version"]) == (True, "1.0.0")
    assert package["parameters"] == [{"key": "host", "value": "h"}]
    hello = made.ok("GET", "_/actions/plant/hello")
    assert {item["key"]: item["value"] for item in hello["parameters"]} == {
        "host": "h",
        "name": "you",
        "count": 7,
    }
    assert (hello["limits"]["timeout"], hello["limits"]["memory"]) == (5000, 128)
    web = "/api/v1/web/guest/plant/hello.json"
    assert made.call("GET", web, Authorization="").body == {"hello": "you", "count": 7}
    assert made.call("GET", f"{web}?name=x", Authorization="").status == 400  # web: true makes inputs final
    result = made.ok("POST", "_/actions/plant/both?blocking=true&result=true", {})
    assert result == {"seen": ["count", "hello", "host"]}
    assert made.ok("GET", "_/rules/silent")["status"] == "inactive"
    assert made.ok("GET", "_/packages/times")["binding"] == {"namespace": "whisk.system", "name": "alarms"}
    made.ok("POST", "_/triggers/bell", {})
    until(lambda: made.count("plant/both") == 2, what="the rule ran the sequence")

    assert "deployed: 0 changed, 11 as they were" in run("deploy", **environment).stdout
    (manifest.parent / "hello.js").write_text("function main(p) { return {hello: 'changed'} }")
    manifest.write_text(MANIFEST.replace("0 0 1 1 *", "0 0 2 2 *"))
    steps = json.loads(run("deploy", "--dry-run", "--json", **environment).stdout)
    assert sorted(step["name"] for step in steps if step["do"] == "update") == [
        "plain",
        "plant/hello",
        "yearly",
    ]
    run("deploy", **environment)
    assert made.ok("POST", "_/actions/plain?blocking=true&result=true", {}) == {"hello": "changed"}
    assert "0 changed" in run("deploy", **environment).stdout

    assert "undeployed: 11 removed" in run("undeploy", **environment).stdout
    assert "undeployed: 0 removed" in run("undeploy", **environment).stdout
    assert made.status()["feeds"] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("packages: {p: {actions: {a: {function: nope.js}}}}", "packages.p.actions.a.function"),
        ("packages: {p: {actions: {a: {}}}}", "packages.p.actions.a.function is missing"),
        ("packages: {p: {actions: {a: {code: x}}}}", "packages.p.actions.a.runtime is needed"),
        ("packages: {p: {actions: {a: {code: x, runtime: 'nodejs:20', docker: y}}}}", "no containers"),
        ("packages: {p: {actons: {}}}", "packages.p.actons is not a key of a package"),
        ("packages: {p: {inputs: {a: $NOPE}}}", "$NOPE is not set in the environment"),
        ("packages: {p: {inputs: {a: {type: integer, value: x}}}}", "must be of type integer"),
        ("packages: {p: {sequences: {a: {actions: b}, b: {actions: a}}}}", "refers to itself"),
        ("packages: {p: {rules: {r: {trigger: t}}}}", "packages.p.rules.r.action is missing"),
        ("packages: {p: {apis: {}}}", "packages.p.apis is not supported"),
        ("packages: {p: {dependencies: {d: {location: github.com/a/b}}}}", "not fetched"),
        (
            "packages: {p: {actions: {a: {code: x, runtime: 'nodejs:20', web: maybe}}}}",
            "must be true, false or raw",
        ),
        ("packages: [1]", "packages must be a mapping"),
        ("{}", "packages is missing"),
        ("packages: {p: {rules: {off: {}}}}", "put it in quotes"),
        ("a: [", "is no YAML"),
        ("other: 1", "other is not a key of a manifest"),
    ],
)
def test_faults(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(BadRequest) as caught:
        read(path, {})
    assert str(path) in str(caught.value)
    assert problem in str(caught.value)
