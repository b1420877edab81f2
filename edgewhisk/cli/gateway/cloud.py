"""What activations are synced to.

`test` asks the configured cloud step by step, whether the gateway runs or not, and stores nothing there.

edgewhisk cloud test --config /etc/edgewhisk/edgewhisk.toml
edgewhisk cloud status
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from pathlib import Path

from edgewhisk.cli import NOT_RUNNING
from edgewhisk.cli.client import options as client_options
from edgewhisk.cli.gateway import status
from edgewhisk.cli.output import complain, document, paint
from edgewhisk.cli.parser import add_verb
from edgewhisk.config.loader import load
from edgewhisk.config.schema import CloudConfig
from edgewhisk.sync.probe import ProbeStep

_NONE = "no cloud is configured"
_HINT = 'set [cloud] url = "https://ow.example.com" and auth_file'


def options(parser: argparse.ArgumentParser) -> None:
    """The verbs."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name, what in (
        ("test", "ask the cloud step by step: name, connection, clock, key, ingest"),
        ("status", "how the sync of the running gateway is"),
    ):
        own = add_verb(verbs, parser, name, what)
        own.add_argument("--config", type=Path, metavar="FILE", help="configuration of the gateway")
        if name == "status":
            client_options(own)
        else:
            own.add_argument("--json", action="store_true", help="print JSON only, for scripts")
        own.set_defaults(verb=name)


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Show it; 1 if a step fails."""
    if given.verb == "status":
        found = status.account(given, environment)
        if found is None:
            return NOT_RUNNING
        if given.json:
            document(found["cloud"])
        else:
            print("\n".join(f"{key:<14}{value}" for key, value in found["cloud"].items()))
        return 0
    config = load(given.config, environment)
    if not config.cloud.url:
        complain(_NONE, _HINT)
        return 1
    steps = asyncio.run(_ask(config.cloud, shown=not given.json))
    if given.json:
        document([step._asdict() for step in steps])
    return 0 if all(step.good for step in steps) else 1


async def _ask(settings: CloudConfig, *, shown: bool) -> list[ProbeStep]:
    from edgewhisk.gateway.wiring.uplink import client
    from edgewhisk.sync.dialects import dialect
    from edgewhisk.sync.probe import probe

    cloud, steps = client(settings), []
    try:
        spoken = dialect(settings.kind, settings.url)
        async for step in probe(cloud, spoken, settings.url, proxied=bool(settings.proxy)):
            steps.append(step)
            if shown:
                _show(step)
    finally:
        await cloud.close()
    return steps


def _show(step: ProbeStep) -> None:
    mark = paint("ok", "green") if step.good else paint("--", "red")
    print(f"{mark}  {step.name:<12}{step.told}")
    if step.hint:
        print(f"    {'':<12}hint: {step.hint}")
