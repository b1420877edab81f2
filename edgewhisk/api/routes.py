"""The one table of routes: which function answers which requests, and what OpenAPI says of them.

`router` answers from it, `quart_adapter` hands it to Quart, `openapi` and `swagger` describe it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from operator import attrgetter
from typing import Final, NamedTuple

from edgewhisk.api.handlers import apis, broker, entities, health, info
from edgewhisk.api.handlers import undelivered as kept
from edgewhisk.api.handlers.activations import get_activation, list_activations
from edgewhisk.api.handlers.devices import post_readings
from edgewhisk.api.handlers.invoke import fire, invoke
from edgewhisk.api.handlers.web import PREFIX, VERBS, serve
from edgewhisk.api.http import HttpResponse

Handler = Callable[..., Awaitable[HttpResponse]]  # of an HttpRequest, Services and the names in the path


class ApiRoute(NamedTuple):
    """A row of the table. What follows the handler is for OpenAPI, in names that `openapi` knows."""

    method: str
    path: str  # as in Quart: `<name>` is a segment, `<api:name>` one but `v1`, `<path:name>` all that follow
    handler: Handler
    summary: str = ""  # none: not part of the document
    answers: Mapping[int, str] = {200: ""}  # status -> schema of its body, if it has one
    query: str = ""
    body: str = ""  # schema; a question mark behind it: the body may be missing
    public: bool = False  # needs no credentials
    slash: bool = False  # the path may have a slash behind it


_SPACE: Final = "/api/v1/namespaces/<namespace>"
_RECORDS: Final = f"{_SPACE}/activations"
_RECORD: Final = f"{_RECORDS}/<activation_id>"
_LETTERS: Final = "/edgewhisk/dead-letters"
_COMMANDS: Final = "/edgewhisk/commands"
_BROKER: Final = "/edgewhisk/broker"
_broker: Final = partial(kept.owned, what=_BROKER[1:])
_letters: Final = partial(kept.owned, what=_LETTERS[1:])
_commands: Final = partial(kept.owned, what=_COMMANDS[1:])
_docs: Final = partial(info.constant, value=info.DOCS)
_PAGE: Final = "limit skip count"
_LIST: Final = {200: "List"}
_TEXT: Final = {200: "Text"}
_INVOKED: Final = (
    "Invoke an action.",
    {200: "", 202: "ActivationId", 502: ""},
    "blocking result timeout",
    "Object?",
)


def _entities(
    plural: str, schema: str, names: tuple[str, ...] = ("<name>",), reads: str = "", drops: str = ""
) -> Iterator[ApiRoute]:
    """What all kinds of entities have; `reads` and `drops` are the parameters of GET and DELETE."""
    of, one = attrgetter(plural), {200: schema}
    get = entities.get_action if plural == "actions" else partial(entities.get_entity, of=of)
    put = partial(entities.put_entity, of=of)
    drop = entities.delete_package if plural == "packages" else partial(entities.delete_entity, of=of)
    listing = partial(entities.list_entities, of=of, plural=plural)
    yield ApiRoute("GET", f"{_SPACE}/{plural}", listing, f"List {plural}.", _LIST, _PAGE, slash=True)
    for path in (f"{_SPACE}/{plural}/{name}" for name in names):
        update = f"Create or update one of the {plural}."
        yield ApiRoute("GET", path, get, f"Read one of the {plural}.", one, reads)
        yield ApiRoute("PUT", path, put, update, one, "overwrite", f"{schema}Put")
        yield ApiRoute("DELETE", path, drop, f"Delete one of the {plural}.", one, drops)


# The first that fits answers, so what is asked most comes first.
ROUTES: Final[tuple[ApiRoute, ...]] = (
    ApiRoute("POST", f"{_SPACE}/actions/<name>", invoke, *_INVOKED),
    ApiRoute("POST", f"{_SPACE}/actions/<package>/<name>", invoke, *_INVOKED),
    ApiRoute("POST", f"{_SPACE}/triggers/<name>", fire, "Fire a trigger.", {202: "ActivationId", 204: ""},
          body="Object?"),
    ApiRoute("POST", "/api/v1/devices/<namespace>/<trigger>", post_readings),
    *(ApiRoute(verb, f"{PREFIX}<path:path>", serve) for verb in VERBS),
    *(ApiRoute(verb, "/api/<api:namespace>/<path:path>", apis.serve) for verb in VERBS),
    ApiRoute("GET", _RECORDS, list_activations, "List activations, newest first.", _LIST,
          f"{_PAGE} name since upto docs", slash=True),
    ApiRoute("GET", _RECORD, get_activation, "Read one activation.", {200: "Activation"}),
    ApiRoute("GET", f"{_RECORD}/result", partial(get_activation, part="result"), "Its result.",
          {200: "Response"}),
    ApiRoute("GET", f"{_RECORD}/logs", partial(get_activation, part="logs"), "Its logs.", {200: "Logs"}),
    ApiRoute("GET", "/ping", health.ping, "Liveness.", _TEXT, public=True),
    ApiRoute("GET", "/metrics", health.metrics, "Counters for Prometheus.", _TEXT, public=True),
    ApiRoute("GET", "/edgewhisk/status", health.status),
    *_entities("actions", "Action", ("<name>", "<package>/<name>"), reads="code"),
    ApiRoute("GET", f"{_SPACE}/actions/<package>/", entities.list_package, "List a package.", _LIST, _PAGE),
    *_entities("packages", "Package", drops="force"),
    *_entities("triggers", "Trigger"),
    *_entities("rules", "Rule"),
    ApiRoute("POST", f"{_SPACE}/rules/<name>", entities.set_rule_status, "Enable or disable a rule.", _TEXT,
          body="RuleStatus"),
    ApiRoute("GET", "/", info.root, "About this OpenWhisk.", public=True),
    ApiRoute("GET", "/api/v1", partial(info.constant, value=info.VERSION), "About this API.", public=True,
          slash=True),
    ApiRoute("GET", "/api/v1/api-docs", info.api_docs, "The API as Swagger 2.0.", public=True),
    ApiRoute("GET", "/api/v1/openapi", info.openapi_docs, "This document.", public=True),
    ApiRoute("GET", "/api-docs", info.api_docs),
    ApiRoute("GET", "/api/v1/docs", _docs),
    ApiRoute("GET", "/docs", _docs),
    ApiRoute("GET", "/api/v1/namespaces", info.namespaces, "The caller's namespace.", {200: "Names"},
          slash=True),
    ApiRoute("GET", f"{_SPACE}/limits", info.limits, "What a namespace may do.", {200: "Object"}, slash=True),
    ApiRoute("GET", f"{_SPACE}/limits/<path:inner>", info.inner_limits),
    # the one invoker, as OpenWhisk's operators see theirs
    ApiRoute("GET", "/invokers", partial(info.constant, value={"invoker0/0": "up"})),
    ApiRoute("GET", "/invokers/healthy/count", partial(info.constant, value=1)),
    ApiRoute("GET", "/invokers/ready", partial(info.constant, value={"healthy": "1/1"})),
    ApiRoute("GET", _LETTERS, partial(_letters, verb=kept.list_letters)),
    ApiRoute("POST", f"{_LETTERS}/<key>/retry", partial(_letters, verb=kept.retry_letter)),
    ApiRoute("DELETE", f"{_LETTERS}/<key>", partial(_letters, verb=kept.drop_letter)),
    ApiRoute("GET", f"{_BROKER}/clients", partial(_broker, verb=broker.clients)),
    ApiRoute("DELETE", f"{_BROKER}/clients/<path:key>", partial(_broker, verb=broker.kick)),
    ApiRoute("GET", f"{_BROKER}/retained/<path:key>", partial(_broker, verb=broker.retained)),
    ApiRoute("GET", _COMMANDS, partial(_commands, verb=kept.list_commands)),
    ApiRoute("POST", f"{_COMMANDS}/<key>/retry", partial(_commands, verb=kept.retry_command)),
    ApiRoute("DELETE", f"{_COMMANDS}/<key>", partial(_commands, verb=kept.drop_command)),
)  # fmt: skip
