"""Manifests: a plan, a deployment, a second one that changes nothing, and its removal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgewhisk.cli.deploy.manifest import ManifestEntity, read
from edgewhisk.errors import BadRequest
from tests.cli.entity.test_entity import Run, made, run
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
        ("packages: {p: {inputs: {a: .nan}}}", "packages.p.inputs.a is nan, which JSON has no number for"),
        ("packages: {p: {inputs: {a: -.inf}}}", "JSON has no number for"),
        ("packages: {p: {inputs: {a: !!set {b}}}}", "packages.p.inputs.a is a set, which JSON does not have"),
        ("packages: {p: {inputs: {a: !!binary aGk=}}}", "is a bytes, which JSON does not have"),
        ("packages: {p: {inputs: {a: {1: b}}}}", "has the name 1, which YAML takes for no text"),
        ("packages: {p: {inputs: {a: {[1]: b}}}}", "is no YAML"),
        ("packages: {p: {inputs: {a: !!python/name:os.system x}}}", "is no YAML"),
        ('packages: {p: {inputs: {a: "\\ud800"}}}', "half a surrogate pair"),
        ("packages: {p: {inputs: {a: &x [*x]}}}", "is nested too deeply"),
        ("packages: " + "[" * 5000, "is nested too deeply"),
        ("packages: {p: {inputs: {a: " + "[" * 80 + "]" * 80 + "}}}", "is nested too deeply"),
        ("x: &x [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
            f"x{n}: &x{n} [{','.join([f'*x{n - 1 or str()}'] * 10)}]\n" for n in range(1, 7)), "is too much"),
        ("packages: {p: {rules: {r: 1, r: 2}}}", "the key 'r' is there twice"),
        ("packages: {$A: {}, b: {}}", "packages.b stands for b, which is there twice"),
        ("packages: {p: {actions: {'a/b': {code: x, runtime: 'nodejs:20'}}}}", "'a/b' can be no name"),
        ("packages: {p: {public: 'maybe'}}", "packages.p.public must be true or false"),
        ("packages: {p: {version: 2020-01-01}}", "packages.p.version must be one to three numbers"),
        ("packages: {p: {version: {a: 1}}}", "packages.p.version must be one to three numbers"),
        ("packages: {p: {feeds: {f: {}}}}", "packages.p.feeds is not supported"),
        ("packages: {p: {actions: {a: {code: 5, runtime: 'nodejs:20'}}}}", "code must be text, not 5"),
        ("packages: {p: {actions: {a: {code: x, runtime: 'nodejs:20', main: [1]}}}}", "main must be text"),
        ("packages: {p: {actions: {a: {code: x, runtime: 'nodejs:20', limits: {timeout: 1.5}}}}}",
         "limits.timeout must be a whole number"),
        ("packages: {p: {actions: {a: {code: x, runtime: 'nodejs:20', final: sure}}}}", "final must be true"),
        *((f"packages: {{p: {{actions: {{a: {{code: x, runtime: 'nodejs:20', web-secure: {secret}}}}}}}}}",
           "web-secure must be true, false or a secret")
          for secret in ("", "''", "'false'", "-1", "1.5", "[]")),
        ("packages: {p: {rules: {r: {trigger: t, action: a, status: off}}}}", "status must be active or"),
        ("packages: {p: {rules: {r: {trigger: [t], action: a}}}}", "rules.r.trigger"),
        ("packages: {p: {sequences: {s: {}}}}", "packages.p.sequences.s.actions is missing"),
        ("packages: {p: {inputs: {a: {type: integer, value: []}}}}", "must be of type integer, not []"),
        ("packages: {p: {inputs: {a: {type: integer, value: 1.5}}}}", "must be of type integer, not 1.5"),
        ("packages: {p: {inputs: {a: {type: number, value: nan}}}}", "must be of type number"),
        ("packages: {p: {inputs: {a: {type: string, value: {b: 1}}}}}", "must be of type string"),
    ],
)  # fmt: skip
def test_faults(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(BadRequest) as caught:
        read(path, {"A": "b"})
    assert str(path) in str(caught.value)
    assert problem in str(caught.value)


PLAIN = 'code: "function main(p) { return p }", runtime: "nodejs:default"'


def entity(tmp_path: Path, text: str, name: str, deployment: str = "", **environment: str) -> ManifestEntity:
    """The entity `name` of a manifest."""
    path, beside = tmp_path / "m.yaml", tmp_path / "d.yaml"
    path.write_text(text)
    beside.write_text(deployment)
    found = read(path, environment, beside if deployment else None)
    return next(one for one in found if one.name == name)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("2037-01-01T00:00:00.000Z", "2037-01-01T00:00:00.000Z"),
        ("2037-01-01", "2037-01-01"),
        ("12:30", "12:30"),
        ("0 0 1 1 *", "0 0 1 1 *"),
        ("1_000", 1000),
        ("0x1f", 31),
        ("1.5e3", 1500.0),
        ("08", "08"),
        ("yes", True),
        ("~", None),
        ('"$${HOME}"', "${HOME}"),
        ('"$$HOME-$$-$HOME"', "$HOME-$$-/h"),
        ("{type: boolean, value: $ON}", True),
        ("{type: integer, value: null}", 0),
        ("&a [1, {b: c}]", [1, {"b": "c"}]),
    ],
)
def test_values(tmp_path: Path, given: str, taken: object) -> None:
    text = f"packages: {{p: {{inputs: {{v: {given}}}}}}}"
    assert entity(tmp_path, text, "p", HOME="/h", ON="true").body["parameters"] == [
        {"key": "v", "value": taken}
    ]


def test_variables_in_names(tmp_path: Path) -> None:
    text = f"packages: {{$PKG: {{}}, '${{PKG}}suffix': {{actions: {{a$PKG: {{{PLAIN}}}}}}}}}"
    assert entity(tmp_path, text, "fpkgsuffix/afpkg", PKG="fpkg").collection == "actions"


def test_a_deployment_file_goes_over_the_manifest(tmp_path: Path) -> None:
    text = f"""
packages:
  p:
    inputs: {{city: Paris, n: {{type: integer, value: 1}}}}
    actions: {{a: {{{PLAIN}, inputs: {{name: Amy}}}}}}
    triggers: {{t: {{feed: /whisk.system/alarms/alarm}}}}
"""
    deployment = """
project:
  name: x
  packages:
    p:
      inputs: {n: 2}
      actions: {a: {inputs: {name: $WHO}, annotations: {k: 1}}}
      triggers: {t: {inputs: {cron: 0 */12 * * *}}}
"""

    def found(name: str) -> ManifestEntity:
        return entity(tmp_path, text, name, deployment, WHO="Bob")

    assert found("p").body["parameters"] == [{"key": "city", "value": "Paris"}, {"key": "n", "value": 2}]
    assert found("p/a").body["parameters"] == [{"key": "name", "value": "Bob"}]
    assert found("p/a").body["annotations"] == [{"key": "k", "value": 1}]
    assert found("t").inputs == {"cron": "0 */12 * * *"}
    for wrong, problem in (
        ("packages: {q: {}}", "packages.q is not in the manifest"),
        ("packages: {p: {actions: {b: {}}}}", "packages.p.actions.b is not in the manifest"),
        ("packages: {p: {actions: {a: {code: x}}}}", "packages.p.actions.a.code is not a key"),
        ("packages: {p: {actions: [a]}}", "packages.p.actions must be a mapping"),
        ("project: {packages: 5}", "packages must be a mapping"),
    ):
        with pytest.raises(BadRequest, match=problem):
            entity(tmp_path, text, "p", wrong)


@pytest.mark.parametrize(
    ("content", "problems"),
    [
        (f"actions: {{good: {{{PLAIN}}}, jar: {{function: x.jar, runtime: java}}}}", ["'java'", "nodejs:20"]),
        (f"actions: {{a: {{{PLAIN.replace('default', '6')}}}}}", ["'nodejs:6'", "nodejs:20"]),
        (f"actions: {{a: {{{PLAIN}, limits: {{timeout: 1, memorySize: 9999}}}}}}",
         ["timeout of 1", "9999 MB"]),
        ("rules: {r: {trigger: none, action: /_/gone/a}}", ["trigger /_/none", "action /_/gone/a"]),
        ("sequences: {s: {actions: nope}}", ["action /_/f-p/nope does not exist"]),
        ("triggers: {t: {feed: /whisk.system/nope/x}}", ["action /whisk.system/nope/x does not exist"]),
        ("dependencies: {d: {location: /nobody/x}}", ["package /nobody/x does not exist"]),
        (f"sequences: {{s: {{actions: '{','.join(['a'] * 51)}'}}}}\n    actions: {{a: {{{PLAIN}}}}}",
         ["51 parts"]),
        (f"triggers: {{t: {{}}}}\n    actions: {{a: {{{PLAIN}}}}}\n"
         f"    rules: {{r: {{trigger: t, action: a}}}}\n"
         f"  f-q:\n    triggers: {{t: {{}}}}\n    rules: {{r: {{trigger: t, action: f-p/a}}}}",
         ["rule r is there twice", "trigger t is there twice"]),
    ],
)  # fmt: skip
def test_what_is_known_to_fail_is_told_before_anything_is_made(
    run: Run, made: Gateway, tmp_path: Path, content: str, problems: list[str]
) -> None:
    (tmp_path / "x.jar").write_bytes(b"PK")
    (tmp_path / "manifest.yaml").write_text(f"packages:\n  f-p:\n    {content}\n")
    planned, done = run("deploy", "--dry-run", code=1), run("deploy", code=1)
    assert planned.stderr == done.stderr
    assert all(problem in done.stderr for problem in problems), done.stderr
    assert made.call("GET", "_/packages/f-p").status == 404


def test_undeploy_removes_what_is_named_twice_once(run: Run, made: Gateway, tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text("packages: {f-p4: {triggers: {f-t4: {}}}}")
    run("deploy")
    (tmp_path / "manifest.yaml").write_text(
        "packages: {f-p4: {triggers: {f-t4: {}}}, f-p5: {triggers: {f-t4: {}}}}"
    )
    assert "undeployed: 2 removed" in run("undeploy").stdout
    assert made.call("GET", "_/triggers/f-t4").status == 404
    assert made.call("GET", "_/packages/f-p4").status == 404


def test_a_deployment_file_beside_the_manifest_is_taken_and_told(
    run: Run, made: Gateway, tmp_path: Path
) -> None:
    (tmp_path / "manifest.yaml").write_text(f"packages: {{f-p6: {{actions: {{a: {{{PLAIN}}}}}}}}}")
    (tmp_path / "deployment.yaml").write_text("packages: {f-p6: {actions: {a: {inputs: {name: Amy}}}}}")
    assert "deployment.yaml" in run("deploy").stdout
    assert made.ok("GET", "_/actions/f-p6/a")["parameters"] == [{"key": "name", "value": "Amy"}]
    assert "0 changed" in run("deploy").stdout
    assert "2 removed" in run("undeploy").stdout
