"""Manifests: a plan, a deployment, a second one that changes nothing, and its removal."""

from __future__ import annotations

import base64
import io
import json
import zipfile
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
        ("packages: {p: {inputs: {a: !!binary /w==}}}", "is no YAML"),
        ("packages: {p: {inputs: {a: {value: ~, required: true}}}}", "inputs.a is required and has no value"),
        ("packages: {p: {inputs: {a: {type: string, required: true}}}}", "is required and has no value"),
        ("packages: {p: {inputs: {a: {type: json, value: 'no json'}}}}", "must be of type json"),
        ("packages: {p: {inputs: {B: integer}}}", "packages.p.inputs.B cannot be the value of $B"),
        ("packages: {p: {apis: [1]}}", "packages.p.apis must be a mapping"),
        ("packages: {p: {apis: {n: {b: {r: {a: {}}}}}}}", "apis.n.b.r.a must have a method of"),
        ("packages: {p: {apis: {n: {b: {r: {a: fetch}}}}}}", "apis.n.b.r.a must have a method of"),
        ("packages: {p: {apis: {n: {b: {r: {a: {method: get, response: xml}}}}}}}", "have a response of"),
        ("packages: {p: {apis: {n: {b: {r: {a: {verb: get}}}}}}}", "is not a key of a API method"),
        ("packages: {p: {actions: {a: {code: x, function: d, runtime: 'nodejs:20'}}}}", "beside a function"),
        ("packages: {p: {actions: {a: {code: x, runtime: 'nodejs:20', web: no}}, "
         "apis: {n: {b: {r: {a: get}}}}}}",
         "packages.p.actions.a.web must be true: an API leads to it"),
        ("packages: {p: {actions: {a: {function: d}}}}", "packages.p.actions.a.runtime is needed with d"),
        ("packages: {p: {actions: {a: {function: 'https://h/a.js'}}}}", "from the network is not fetched"),
        ("project: {config: nope.yaml}", "nope.yaml: No such file"),
        ("project: {config: m.yaml}", "m.yaml is no Swagger document with a basePath"),
        ("packages: {p: {actions: {a: {function: d, runtime: 'nodejs:20', include: [[nope]]}}}}",
         "packages.p.actions.a.include there is no file nope"),
        ("packages: {p: {actions: {a: {function: d, runtime: 'nodejs:20', include: [[d/x, ../x]]}}}}",
         "would be outside of the archive"),
        ("packages: {p: {actions: {a: {function: d, runtime: 'nodejs:20', include: [[/etc/passwd]]}}}}",
         "must be a path beside the manifest"),
        ("packages: {p: {actions: {a: {function: d, runtime: 'nodejs:20', exclude: d}}}}", "must be a list"),
        ("packages: {p: {actions: {a: {function: d, runtime: 'nodejs:20', include: [[1]]}}}}",
         "must have paths"),
        ("packages: {p: {actions: {a: {code: x, runtime: 'nodejs:20', limits: {size: 1}}}}}",
         "limits.size is not a key of a limits"),
        *(("packages: {p: {actions: {a: {code: x, runtime: 'nodejs:20', annotations: {require-whisk-auth: "
           f"{secret}}}}}}}}}}}",
           "annotations.require-whisk-auth must be true, false or a secret")
          for secret in ("", "''", "-1", "1.5", "9007199254740993")),
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
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_text("x")
    with pytest.raises(BadRequest) as caught:
        read(path, {"A": "b", "B": "c"})
    assert str(path.parent) in str(caught.value)
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
        ("~", ""),
        ("{}", ""),
        ("{description: a}", ""),
        ("{type: string, value: 7}", 7),
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


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("string", ""),
        ("integer", 0),
        ("float", 0.0),
        ("boolean", False),
        ("json", {}),
        ("object", "object"),
        ("{type: string, value: string}", "string"),
        ("{type: json, value: '{\"a\": [1]}'}", {"a": [1]}),
        ("{type: a, other: b}", {"type": "a", "other": "b"}),
        ("!!binary aGk=", "hi"),
    ],
)
def test_a_type_alone_is_its_empty_value(tmp_path: Path, given: str, taken: object) -> None:
    text = f"packages: {{p: {{inputs: {{v: {given}}}}}}}"
    assert entity(tmp_path, text, "p").body["parameters"] == [{"key": "v", "value": taken}]


def test_inputs_of_the_project_and_the_package_reach_what_is_inside(tmp_path: Path) -> None:
    text = f"""
project:
  name: x
  inputs: {{city: Paris, other: o}}
  packages:
    p:
      inputs: {{city: Rome, street: $other, PORT: integer}}
      actions: {{a$street: {{{PLAIN}, inputs: {{at: $city, was: "${{street}}!"}}}}}}
    q: {{inputs: {{at: $city}}}}
"""
    port = {"PORT": "81"}
    assert entity(tmp_path, text, "p", **port).body["parameters"] == [
        {"key": "city", "value": "Rome"},
        {"key": "street", "value": "o"},
        {"key": "PORT", "value": 81},
    ]
    assert entity(tmp_path, text, "p/ao").body["parameters"] == [
        {"key": "at", "value": "Rome"},
        {"key": "was", "value": "o!"},
    ]
    over = "project: {inputs: {city: Oslo}}"
    assert entity(tmp_path, text, "q", over).body["parameters"] == [{"key": "at", "value": "Oslo"}]


def test_what_makes_no_difference_is_ignored_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(f"""
project: {{name: x, credential: abc, apiHost: ''}}
packages:
  p:
    license: Apache-2.0
    feeds: {{f: {{location: x}}}}
    repositories: [{{url: https://a}}]
    actions: {{a: {{{PLAIN}, exposedUrl: x, outputs: {{a: b}}, limits: {{codeSize: 1}}}}}}
""")
    told: list[str] = []
    assert [one.name for one in read(path, {}, warn=told.append)] == ["p", "p/a"]
    assert [line.removeprefix(f"{path}: ") for line in told] == [
        f"{key} is ignored"
        for key in ("project.credential", "packages.p.feeds", "packages.p.license", "packages.p.repositories",
                    "packages.p.actions.a.exposedUrl", "packages.p.actions.a.outputs",
                    "packages.p.actions.a.limits.codeSize")
    ]  # fmt: skip


def test_a_project_without_packages_makes_nothing(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("project: {name: x}")
    assert read(tmp_path / "m.yaml", {}) == []


FILES = ("act/index.js", "act/lib/a.js", "act/doc/readme.md", "lib/u.js", "lib/sub/v.js", "lib/sub/w.txt")


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("", {"index.js", "lib/a.js", "doc/readme.md"}),
        ("exclude: [act/doc]", {"index.js", "lib/a.js"}),
        ("exclude: [act/doc/*, act/lib/a.js]", {"index.js"}),
        ("exclude: [act/*], include: [[act/index.js, index.js]]", {"index.js"}),
        ("exclude: [act/*], include: [[lib/u.js]]", {"lib/u.js"}),
        ("exclude: [act/*], include: [[lib/u.js, ./x/]]", {"x/u.js"}),
        ("exclude: [act/*], include: [[lib/u.js, x/y.js]]", {"x/y.js"}),
        ("exclude: [act/*], include: [[lib, x]]", {"x/u.js", "x/sub/v.js", "x/sub/w.txt"}),
        ("exclude: [act/*], include: [[lib/*.js, x/]]", {"x/u.js"}),
        ("exclude: [act/*], include: [[lib/*, x/*]]", {"x/u.js", "x/sub/v.js", "x/sub/w.txt"}),
        ("exclude: [act/*], include: [[lib/*/v.js, x/*/v.js]]", {"x/sub/v.js"}),
        ("exclude: [act/*], include: [[lib/*/*.txt]]", {"lib/sub/w.txt"}),
    ],
)
def test_include_and_exclude(tmp_path: Path, given: str, names: set[str]) -> None:
    for file in FILES:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(file)
    text = f"packages: {{p: {{actions: {{a: {{function: act, runtime: 'nodejs:20', {given}}}}}}}}}"
    code = entity(tmp_path, text, "p/a").body["exec"]["code"]
    assert set(zipfile.ZipFile(io.BytesIO(base64.b64decode(code))).namelist()) == names


APIS = f"""
packages:
  f-api:
    actions:
      one: {{{PLAIN}, web: true, web-secure: open-sesame}}
      two: {{code: "main = (p) => ({{body: p.__ow_path}})", runtime: "nodejs:default", web: true}}
    sequences: {{both: {{actions: two}}}}
    apis:
      Club:
        club:
          books: {{one: get, both: {{method: POST, response: http}}}}
          /books/{{isbn}}: {{two: {{method: get}}}}
"""


def test_apis(run: Run, made: Gateway, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(APIS)
    planned = run("deploy", "--dry-run")
    assert "create api GET /club/books/{isbn}" in planned.stdout
    assert "packages.f-api.sequences.both is made a web action: an API leads to it" in planned.stderr
    assert "deployed: 7 changed" in run("deploy").stdout
    assert made.call("GET", "/api/guest/club/books?a=1", Authorization="").body["a"] == "1"
    assert made.call("GET", "/api/guest/club/books/7", Authorization="").body == "/club/books/7"
    assert made.call("POST", "/api/guest/club/books", {}, Authorization="").status == 200
    assert "deployed: 0 changed, 7 as they were" in run("deploy").stdout
    manifest.write_text(
        APIS.replace("one: get", "one: {method: get, response: text}").replace("open-", "shut-")
    )
    steps = json.loads(run("deploy", "--dry-run", "--json").stdout)
    assert [step["name"] for step in steps if step["do"] == "update"] == ["f-api/one", "GET /club/books"]
    run("deploy")
    assert made.call("GET", "/api/guest/club/books?text=x", Authorization="").body == "x"
    assert "undeployed: 7 removed" in run("undeploy").stdout
    assert made.call("GET", "/api/guest/club/books", Authorization="").status == 404
    manifest.write_text(APIS.replace("one: get", "gone: get"))
    assert "action /_/f-api/gone does not exist" in run("deploy", code=1).stderr


def test_an_api_of_a_swagger_document(run: Run, made: Gateway, tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text(f"""
project:
  name: f
  config: api.yaml
  packages: {{f-swag: {{actions: {{a: {{{PLAIN}, web: true}}}}}}}}
""")
    (tmp_path / "api.yaml").write_text("""
swagger: '2.0'
basePath: /swag
info: {title: s, version: '1'}
paths: {/a: {get: {operationId: a, x-openwhisk: {url: https://h/api/v1/web/guest/f-swag/a.json}}}}
""")
    assert "deployed: 3 changed" in run("deploy").stdout
    assert made.call("GET", "/api/guest/swag/a?x=1", Authorization="").body["x"] == "1"
    assert "deployed: 0 changed, 3 as they were" in run("deploy").stdout
    assert "undeployed: 3 removed" in run("undeploy").stdout


def test_prune_deletes_what_the_packages_have_besides(run: Run, made: Gateway, tmp_path: Path) -> None:
    both = f"packages: {{f-prune: {{actions: {{a: {{{PLAIN}}}, b: {{{PLAIN}}}}}}}}}"
    (tmp_path / "manifest.yaml").write_text(both)
    run("deploy")
    made.action("f-other", "function main() {}")
    (tmp_path / "manifest.yaml").write_text(f"packages: {{f-prune: {{actions: {{a: {{{PLAIN}}}}}}}}}")
    assert "delete" not in run("deploy").stdout
    planned = run("deploy", "--prune", "--dry-run")
    assert ("- delete action f-prune/b" in planned.stdout, "keeps as state" in planned.stderr) == (True, True)
    run("deploy", "--prune")
    there = [made.call("GET", f"_/actions/{name}").status for name in ("f-prune/a", "f-prune/b", "f-other")]
    assert there == [200, 404, 200]
    undone = run("undeploy")
    assert ("2 removed" in undone.stdout, "keeps as state" in undone.stderr) == (True, True)
