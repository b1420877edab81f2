"""Actions, packages, triggers and rules: listed, read, written, deleted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from edgewhisk.api import query
from edgewhisk.api.http import PLAIN, HttpRequest, HttpResponse, full_name
from edgewhisk.api.services import Services
from edgewhisk.controller.auth.entitlement import check_owner, resolve_namespace
from edgewhisk.entity.identity import Identity
from edgewhisk.entity.names import FullyQualifiedName, entity_name

Json = dict[str, Any]


class Listed(Protocol):
    """An entity that stands in a list."""

    def to_listing(self) -> Json:
        """Its item."""
        ...


class EntityCollection(Protocol):
    """The entities of one kind."""

    def get(self, identity: Identity, name: FullyQualifiedName) -> Json:
        """One entity."""
        ...

    async def put(self, identity: Identity, name: FullyQualifiedName, body: Any, *, overwrite: bool) -> Json:
        """Create or update one."""
        ...

    async def delete(self, identity: Identity, name: FullyQualifiedName) -> Json:
        """Delete one."""
        ...

    def list(self, identity: Identity, namespace: str) -> Sequence[Listed]:
        """All of a namespace, newest first."""
        ...


Of = Callable[[Services], EntityCollection]


async def list_entities(
    ask: HttpRequest, verbs: Services, namespace: str, *, of: Of, plural: str
) -> HttpResponse:
    """All entities of one kind; of another namespace's packages, the published ones."""
    identity = verbs.caller(ask)
    return _page(ask, of(verbs).list(identity, resolve_namespace(namespace, identity)), plural)


async def list_package(ask: HttpRequest, verbs: Services, namespace: str, package: str) -> HttpResponse:
    """The actions of a package: the slash at the end tells it from an action's name."""
    identity = verbs.caller(ask)
    owner = resolve_namespace(namespace, identity)
    return _page(ask, verbs.actions.list(identity, owner, entity_name(package)), "actions")


async def get_entity(ask: HttpRequest, verbs: Services, namespace: str, name: str, *, of: Of) -> HttpResponse:
    """One entity: a package with its actions, a rule with its status."""
    identity = verbs.caller(ask)
    return HttpResponse.of(of(verbs).get(identity, full_name(identity, namespace, name)))


async def get_action(
    ask: HttpRequest, verbs: Services, namespace: str, name: str, package: str | None = None
) -> HttpResponse:
    """One action, with its code unless `code=false`."""
    identity = verbs.caller(ask)
    wanted = full_name(identity, namespace, name, package)
    code = query.flag(query.parsed(ask.query), "code", default=True)
    return HttpResponse.of(verbs.actions.get(identity, wanted, code=code))


async def put_entity(
    ask: HttpRequest, verbs: Services, namespace: str, name: str, package: str | None = None, *, of: Of
) -> HttpResponse:
    """Create one, or update it with `overwrite=true`.

    Checks come in OpenWhisk's order: who, name, rights, package, body, query, and the rest.
    """
    identity = verbs.caller(ask)
    wanted = full_name(identity, namespace, name, package)
    check_owner(identity, wanted.namespace, wanted.key)
    verbs.actions.check_package(wanted)
    body = await ask.document(verbs.max_document)
    overwrite = query.flag(query.parsed(ask.query), "overwrite")
    return HttpResponse.of(await of(verbs).put(identity, wanted, body, overwrite=overwrite))


async def delete_entity(
    ask: HttpRequest, verbs: Services, namespace: str, name: str, package: str | None = None, *, of: Of
) -> HttpResponse:
    """Delete one."""
    identity = verbs.caller(ask)
    return HttpResponse.of(await of(verbs).delete(identity, full_name(identity, namespace, name, package)))


async def delete_package(ask: HttpRequest, verbs: Services, namespace: str, name: str) -> HttpResponse:
    """Delete a package, with what is in it if `force=true`."""
    identity = verbs.caller(ask)
    wanted = full_name(identity, namespace, name)
    force = query.flag(query.parsed(ask.query), "force")
    return HttpResponse.of(await verbs.packages.delete(identity, wanted, force=force))


async def set_rule_status(ask: HttpRequest, verbs: Services, namespace: str, name: str) -> HttpResponse:
    """Enable or disable a rule."""
    identity = verbs.caller(ask)
    wanted = full_name(identity, namespace, name)
    await verbs.rules.set_status(identity, wanted, await ask.document(verbs.max_document))
    return HttpResponse(200, b"OK", content_type=PLAIN)


def _page(ask: HttpRequest, found: Sequence[Listed], plural: str) -> HttpResponse:
    """The asked-for page of a list, or its count."""
    wanted = query.page(query.parsed(ask.query), plural)
    if wanted.counted:
        return HttpResponse.of({plural: max(0, len(found) - wanted.skip)})
    return HttpResponse.of([one.to_listing() for one in found[wanted.skip : wanted.skip + wanted.limit]])
