"""Several subjects: each has its namespace, and no way into another but through what is shared."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.path.gateway import Answer, Gateway, gateway, until

As = Callable[..., Answer]


def subject(made: Gateway, *words: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "edgewhisk", "subject", *words, "--config", str(made.config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def plant(made: Gateway) -> As:
    """Call as a second subject, `plant`."""
    key = subject(made, "add", "plant").splitlines()[-1]
    header = "Basic " + base64.b64encode(key.encode()).decode()

    def call(method: str, path: str, body: Any = None) -> Answer:
        return made.call(method, path, body, Authorization=header)

    assert call("GET", "_/actions").status == 200  # at once
    return call


@pytest.fixture(scope="module")
def other(made: Gateway) -> As:
    return plant(made)


@pytest.fixture(scope="module", autouse=True)
def things(made: Gateway, other: As) -> None:
    made.action("mine", "function main() { return {mine: true} }")
    made.ok("PUT", "_/packages/shared", {"publish": True, "parameters": [{"key": "k", "value": "guest"}]})
    made.ok("PUT", "_/packages/closed", {})
    for package in ("shared", "closed"):
        made.action(f"{package}/say", "function main(p) { return {k: p.k, ns: process.env.__OW_NAMESPACE} }")
    made.ok("PUT", "_/triggers/bell", {})
    made.rule("bell", "mine")


CODE = {"exec": {"kind": "nodejs:20", "code": "function main() {}"}}


@pytest.mark.parametrize("name", ["guest", "nobody"], ids=["existing", "missing"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "actions", None),
        ("GET", "actions/mine", None),
        ("PUT", "actions/mine?overwrite=true", CODE),
        ("POST", "actions/mine?blocking=true", {}),
        ("DELETE", "actions/mine", None),
        ("GET", "actions/closed/", None),
        ("GET", "actions/closed/say", None),
        ("POST", "actions/closed/say", {}),
        ("PUT", "actions/shared/say?overwrite=true", CODE),
        ("DELETE", "actions/shared/say", None),
        ("GET", "packages/closed", None),
        ("PUT", "packages/shared?overwrite=true", {}),
        ("DELETE", "packages/shared", None),
        ("GET", "triggers", None),
        ("GET", "triggers/bell", None),
        ("POST", "triggers/bell", {}),
        ("PUT", "triggers/new", {}),
        ("DELETE", "triggers/bell", None),
        ("GET", "rules", None),
        ("GET", "rules/bell-mine", None),
        ("POST", "rules/bell-mine", {"status": "inactive"}),
        ("DELETE", "rules/bell-mine", None),
        ("GET", "activations", None),
        ("GET", "activations/" + "a" * 32, None),
        ("GET", "limits", None),
    ],
)
def test_no_way_into_another_namespace(other: As, name: str, method: str, path: str, body: Any) -> None:
    answer = other(method, f"{name}/{path}", body)
    assert (answer.status, "is not authorized to access" in answer.body["error"]) == (403, True), answer


def test_shared_packages(made: Gateway, other: As) -> None:
    assert [item["name"] for item in other("GET", "guest/packages").body] == ["shared"]
    assert other("GET", "guest/packages/shared").body["parameters"] == [{"key": "k", "value": "guest"}]
    assert [item["name"] for item in other("GET", "guest/actions/shared/").body] == ["say"]
    answer = other("POST", "guest/actions/shared/say?blocking=true", {})
    assert answer.body["response"]["result"] == {"k": "guest", "ns": "plant"}
    assert answer.body["namespace"] == "plant"  # the record is the caller's
    assert made.call("GET", f"_/activations/{answer.body['activationId']}").status == 404
    other("PUT", "_/packages/own", {"binding": {"namespace": "guest", "name": "shared"},
                                    "parameters": [{"key": "k", "value": "bound"}]})  # fmt: skip
    run = "_/actions/own/say?blocking=true&result=true"
    assert other("POST", run, {}).body == {"k": "bound", "ns": "plant"}
    body = {"exec": {"kind": "sequence", "components": ["/guest/shared/say", "/_/own/say"]}}
    assert other("PUT", "_/actions/chain?overwrite=true", body).status == 200
    assert other("POST", "_/actions/chain?blocking=true&result=true", {}).body["k"] == "guest"
    made.ok("PUT", "_/packages/shared?overwrite=true", {"publish": False})
    try:
        assert other("POST", run, {}).status == 403
        assert other("GET", "_/packages/own").status == 403
        assert other("GET", "_/actions/own/").status == 403
        assert other("POST", "_/actions/chain?blocking=true", {}).status == 403
        body = {"binding": {"namespace": "guest", "name": "shared"}}
        assert other("PUT", "_/packages/own2", body).status == 403
        body = {"exec": {"kind": "sequence", "components": ["/guest/shared/say"]}}
        assert other("PUT", "_/actions/chain2", body).status == 403
    finally:
        made.ok("PUT", "_/packages/shared?overwrite=true", {"publish": True})


def test_a_rule_starts_what_its_owner_may_invoke(made: Gateway, other: As) -> None:
    assert other("PUT", "_/triggers/eve", {}).status == 200
    made.ok("PUT", "_/packages/inner", {"parameters": [{"key": "k", "value": "secret"}]})
    made.action("inner/say", "function main(p) { return p }")
    published = {"publish": True, "binding": {"namespace": "guest", "name": "inner"}}
    made.ok("PUT", "_/packages/outer", published)  # a binding is its owner's, published or not
    for action, named in (
        ("/guest/closed/say", "guest/closed"),
        ("/guest/outer/say", "guest/outer"),
        ("/guest/none/say", "guest/none"),
        ("/guest/mine", "guest/mine"),
    ):
        answer = other("PUT", "_/rules/r", {"trigger": "/_/eve", "action": action})
        assert (answer.status, f"'{named}'" in answer.body["error"]) == (403, True), answer
    assert other("PUT", "_/rules/r", {"trigger": "/_/eve", "action": "/_/none/say"}).status == 404
    body = {"exec": {"kind": "sequence", "components": ["/guest/shared/say"]}}
    assert other("PUT", "_/actions/eves?overwrite=true", body).status == 200
    binding = {"binding": {"namespace": "guest", "name": "shared"}}
    assert other("PUT", "_/packages/bound", binding).status == 200
    for number, action in enumerate(("/guest/shared/say", "/_/bound/say", "/_/eves")):
        assert other("PUT", f"_/rules/r{number}", {"trigger": "/_/eve", "action": action}).status == 200

    def fired() -> list[dict[str, Any]]:
        answer = other("POST", "_/triggers/eve", {})
        assert answer.status == 202
        logs = other("GET", f"_/activations/{answer.body['activationId']}/logs").body["logs"]
        return sorted((json.loads(line) for line in logs), key=lambda line: str(line["rule"]))

    assert [line["statusCode"] for line in fired()] == [0, 0, 0]
    made.ok("PUT", "_/packages/shared?overwrite=true", {"publish": False})
    try:
        refused = "The supplied authentication is not authorized to access '{}'."
        names = ("guest/shared", "plant/bound", "guest/shared")
        assert [(line["statusCode"], line.get("error")) for line in fired()] == [
            (1, refused.format(name)) for name in names
        ]
    finally:
        made.ok("PUT", "_/packages/shared?overwrite=true", {"publish": True})
    assert [line["statusCode"] for line in fired()] == [0, 0, 0]


def test_the_gateways_own_state_is_the_default_subjects(other: As) -> None:
    assert other("GET", "/edgewhisk/status").status == 403


def test_records_of_other_gateways_become_the_callers(made: Gateway, other: As) -> None:
    run = made.ok("POST", "_/actions/mine?blocking=true", {})
    record = {**run, "activationId": "e" * 32, "logs": []}
    record["response"]["statusCode"] = 0
    batch = {"v": 1, "device": "d" * 32, "epoch": "e" * 32, "first": 1, "records": [record]}
    path = "whisk.system/actions/edge/ingest?blocking=true&result=true"
    assert other("POST", path, batch).body["have"] == 1
    assert made.call("GET", f"_/activations/{'e' * 32}").status == 404
    assert other("GET", f"_/activations/{'e' * 32}").body["namespace"] == "plant"
    assert made.ok("POST", path, {**batch, "records": []})["have"] == 0  # a device of the same name


def test_names_are_each_namespaces_own(made: Gateway, other: As) -> None:
    assert other("PUT", "_/actions/mine", CODE).status == 200
    assert made.ok("POST", "_/actions/mine?blocking=true&result=true", {}) == {"mine": True}
    assert other("DELETE", "_/actions/mine").status == 200
    assert other("PUT", "_/rules/r", {"trigger": "/guest/bell", "action": "/guest/mine"}).status == 403


def test_rates_are_each_namespaces_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    made = Gateway(tmp_path_factory.mktemp("rates"), '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n')
    made.config.write_text(made.config.read_text().replace("1000000", "3"))
    try:
        made.start()
        made.action("a", "function main() { return {} }")
        answers = [made.call("POST", "_/actions/a?blocking=true", {}) for _ in range(8)]
        refused = [answer for answer in answers if answer.status == 429]
        assert len(refused) >= 2  # the minute may turn between two calls
        assert "Too many requests in the last minute (count: 4, allowed: 3)." in refused[0].body["error"]
        assert refused[0].headers["retry-after"] == "60"
        assert made.call("GET", "_/actions").status == 200
        made.action(
            "page", "function main() { return {} }", annotations=[{"key": "web-export", "value": True}]
        )
        web = [made.call("GET", "/api/v1/web/guest/default/page.json", Authorization="") for _ in range(64)]
        assert [answer.status for answer in web[:30]] == [200] * 30  # a budget of its own, ten times as large
        assert 429 in [answer.status for answer in web]
        assert any("allowed: 30" in str(answer.body) for answer in web)
    finally:
        made.stop()


def test_feeds_of_a_subject_read_only_what_is_granted(tmp_path: Path) -> None:
    settings = '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n[grants.plant]\nmqtt = ["plant/#"]\n'
    path = "whisk.system/actions/{}?blocking=true&result=true"
    with gateway(tmp_path, settings) as made:
        ask = plant(made)
        assert ask("PUT", "_/triggers/t", {}).status == 200

        def feed(event: str, name: str = "mqtt/message", **given: Any) -> Answer:
            return ask("POST", path.format(name), {"lifecycleEvent": event, "triggerName": "t", **given})

        for name, given, line in (
            ("mqtt/message", {"topic": "#"}, 'mqtt # is not granted to plant ([grants.plant]  mqtt = ["#"])'),
            ("mqtt/message", {"topic": "$share/g/office/{room}"}, "mqtt office/+ is not granted to plant"),
            ("serial/reading", {"port": "/dev/x", "profile": "nova/sds011"}, "serial /dev/x is not granted"),
        ):
            answer = feed("CREATE", name, **given)
            assert answer.status == 502, answer  # as any error of an action
            assert line in answer.body["error"]
        binding = {"namespace": "whisk.system", "name": "mqtt"}
        held = [{"key": "topic", "value": "office/a"}]
        assert ask("PUT", "_/packages/mine", {"binding": binding, "parameters": held}).status == 200
        asked = {"lifecycleEvent": "CREATE", "triggerName": "t"}
        answer = ask("POST", "_/actions/mine/message?blocking=true&result=true", asked)
        assert "mqtt office/a is not granted to plant" in answer.body["error"]
        assert made.status()["feeds"] == []
        assert feed("CREATE", topic="plant/{line}/celsius").status == 200
        made.feed("all", "mqtt/message", topic="#")  # guest's
        made.stop()
        made.config.write_text(made.config.read_text().replace("plant/#", "office/#"))
        made.start()
        told = {one["trigger"]: one for one in made.status()["feeds"]}
        assert told["/plant/t"]["state"] == "failed"
        assert "mqtt plant/+/celsius is not granted to plant" in told["/plant/t"]["last_error"]
        assert told["/guest/all"]["topic"] == "#"
        assert feed("READ").body["status"]["state"] == "failed"
        assert feed("UPDATE", topic="office/a").body["status"]["topic"] == "office/a"


def test_the_verbs_of_subjects(made: Gateway, other: As) -> None:
    assert subject(made, "list").split() == ["guest", "plant"]
    assert "exists already" in subject(made, "add", "plant", code=1)
    assert "illegal characters" in subject(made, "add", "../x", code=1)
    assert "is reserved" in subject(made, "add", "whisk.system", code=1)
    assert "default subject" in subject(made, "remove", "guest", code=1)
    assert "there is no subject nobody" in subject(made, "get", "nobody", code=1)
    key = "00000000-0000-4000-8000-000000000001:" + "k" * 64
    assert subject(made, "add", "given", "--auth", key).splitlines()[-1] == key
    assert "belongs to subject given" in subject(made, "add", "twice", "--auth", key, code=1)
    file = made.folder / "state" / "subjects" / "given"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    header = "Basic " + base64.b64encode(key.encode()).decode()
    until(lambda: made.call("GET", "_/actions", Authorization=header).status == 200)
    subject(made, "remove", "given")
    until(lambda: made.call("GET", "_/actions", Authorization=header).status == 401, what="it is locked out")
