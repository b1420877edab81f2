"""What one kind of cloud asks for, as data. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from edgewhisk.entity.names import parse_name
from edgewhisk.sync.credential import Scheme

TRIGGERS: Final = "triggers"
RULES: Final = "rules"
SEQUENCES: Final = "sequences"


class Endpoints(NamedTuple):
    """Where batches go."""

    ingest: str  # URL that takes them
    query: dict[str, str]
    activations: str  # URL below which a late result is asked for; empty: there is none
    info: str  # URL of the document that tells what is there; empty: there is none
    name: str  # of the ingest, for a person


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A kind of cloud."""

    kind: str  # its name in `[cloud] kind`
    schemes: tuple[Scheme, ...]  # credentials that it takes
    key: str  # what its credential looks like, for a person
    endpoints: Callable[[str, str, str], Endpoints]  # of a URL, a namespace and an ingest
    hosts: tuple[str, ...] = ()  # ends of host names by which it is known
    namespace: str = "_"  # where the configuration names none
    calls_per_minute: int = 60  # invocations of one namespace
    concurrent: int = 30  # of them, at the same time
    list_page: int = 200  # entities in one answer, at most
    blocking_seconds: int = 60  # until a blocking call is answered with 202
    late_results: bool = True  # whether the result of such a call can be asked for afterwards
    compressed: bool = False  # whether it takes a body with gzip
    has: frozenset[str] = frozenset({TRIGGERS, RULES, SEQUENCES})


def openwhisk_endpoints(url: str, namespace: str, ingest: str) -> Endpoints:
    """Of OpenWhisk's REST protocol: "/whisk.system/edge/ingest", or "edge/ingest" in `namespace`."""
    name = parse_name(ingest if ingest.startswith("/") else f"/{namespace}/{ingest}", namespace)
    root = f"{url.rstrip('/')}/api/v1"
    return Endpoints(
        f"{root}/namespaces/{name.namespace}/actions/{name.local}",
        {"blocking": "true", "result": "true"},
        f"{root}/namespaces/{namespace}/activations",
        root,
        str(name),
    )
