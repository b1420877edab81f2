"""`edgewhisk broker` with a real gateway, its metrics and its status; without the broker it says so."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

from tests.api.test_metrics import README, scraped
from tests.broker.bench import connect, publish, subscribe
from tests.cli.test_cli import run
from tests.path.gateway import free_port, gateway, until


def test_what_a_person_asks_the_broker(tmp_path: Path) -> None:
    port = free_port()
    with gateway(tmp_path, f'[mqtt]\nurl = "embedded://127.0.0.1:{port}"\n') as made:
        config = ("--config", str(made.config))

        def broker(*words: str) -> str:
            done = run("broker", *words, *config)
            assert done.returncode == 0, done.stderr
            return done.stdout

        listening = subprocess.Popen(
            [sys.executable, "-m", "edgewhisk", "broker", "subscribe", "home/+", "--count", "2", *config],
            stdout=subprocess.PIPE,
            text=True,
        )
        until(lambda: made.status()["broker"]["subscriptions"] == 1, what="it subscribes")
        assert "published" in broker("publish", "home/lamp", "on", "--retain")
        broker("publish", "home/fan", "off")
        assert listening.communicate(timeout=30)[0] == "home/lamp on\nhome/fan off\n"
        assert listening.returncode == 0
        assert json.loads(broker("retained", "home/#", "--json"))[0]["topic"] == "home/lamp"
        with socket.create_connection(("127.0.0.1", port), timeout=20) as device:
            device.sendall(connect("a/b", clean=False) + subscribe(1, ("cmd", 1)))
            assert device.recv(4) == b"\x20\2\0\0"
            (one,) = [one for one in json.loads(broker("show", "--json")) if one["client"] == "a/b"]
            assert (one["connected"], one["version"]) == (True, "3.1.1")
            broker("kick", "a/b")
            while device.recv(100):
                pass
        broker("publish", "cmd", "1")
        shown = broker("show")
        assert "a/b" in shown
        assert "away" in shown
        assert "1 messages wait" in run("status", *config).stdout
        found = scraped(made)
        assert found["edgewhisk_broker_queued_messages"][()] == 1
        assert found["edgewhisk_broker_retained_topics"][()] == 1
        assert (
            sorted(
                name for name in found if "broker" in name and f"`{name.removesuffix('_total')}" not in README
            )
            == []
        )
        gone = run("broker", "kick", "nobody", *config)
        assert gone.returncode != 0
        assert "no client 'nobody' is connected" in gone.stderr
        assert "no topic filter" in run("broker", "retained", "a/#/b", *config).stderr
        with socket.create_connection(("127.0.0.1", port), timeout=20) as device:
            device.sendall(connect("late") + publish("x", b"", 1, 1))
            assert device.recv(8) == b"\x20\2\0\0\x40\2\0\1"


def test_without_it_the_words_say_so(tmp_path: Path) -> None:
    with gateway(tmp_path, '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n') as made:
        done = run("broker", "show", "--config", str(made.config))
        assert done.returncode != 0
        assert "the embedded broker does not run" in done.stderr
