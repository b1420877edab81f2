"""Routes of actions (less invoking), packages, triggers (less firing) and rules."""

from __future__ import annotations

from quart import Blueprint, Response

from edgewhisk.api.http import full_name
from edgewhisk.api.quart_adapter import answer, caller, document, flag, listed, services
from edgewhisk.controller.auth.entitlement import resolve_namespace
from edgewhisk.entity.names import entity_name

entities = Blueprint("entities", __name__, url_prefix="/api/v1/namespaces/<namespace>")


@entities.get("/actions", strict_slashes=False)
async def list_actions(namespace: str) -> Response:
    """All actions of a namespace."""
    identity = caller()
    found = services().actions.list(identity, resolve_namespace(namespace, identity), None)
    return listed(found, "actions")


@entities.get("/actions/<package>/")
async def list_package(namespace: str, package: str) -> Response:
    """The actions of a package: the slash at the end tells it from an action's name."""
    identity = caller()
    owner = resolve_namespace(namespace, identity)
    return listed(services().actions.list(identity, owner, entity_name(package)), "actions")


@entities.get("/actions/<name>")
@entities.get("/actions/<package>/<name>")
async def get_action(namespace: str, name: str, package: str | None = None) -> Response:
    """One action."""
    identity = caller()
    wanted = full_name(identity, namespace, name, package)
    return answer(services().actions.get(identity, wanted, code=flag("code", default=True)))


@entities.put("/actions/<name>")
@entities.put("/actions/<package>/<name>")
async def put_action(namespace: str, name: str, package: str | None = None) -> Response:
    """Create or update an action."""
    identity = caller()
    wanted, overwrite = full_name(identity, namespace, name, package), flag("overwrite")
    return answer(await services().actions.put(identity, wanted, await document(), overwrite=overwrite))


@entities.delete("/actions/<name>")
@entities.delete("/actions/<package>/<name>")
async def delete_action(namespace: str, name: str, package: str | None = None) -> Response:
    """Delete an action."""
    identity = caller()
    return answer(await services().actions.delete(identity, full_name(identity, namespace, name, package)))


@entities.get("/packages", strict_slashes=False)
async def list_packages(namespace: str) -> Response:
    """One's own packages, or the published ones of another namespace."""
    identity = caller()
    found = services().packages.list(identity, resolve_namespace(namespace, identity))
    return listed(found, "packages")


@entities.get("/packages/<name>")
async def get_package(namespace: str, name: str) -> Response:
    """One package with its actions."""
    identity = caller()
    return answer(services().packages.get(identity, full_name(identity, namespace, name)))


@entities.put("/packages/<name>")
async def put_package(namespace: str, name: str) -> Response:
    """Create or update a package or a binding."""
    identity = caller()
    wanted, overwrite = full_name(identity, namespace, name), flag("overwrite")
    return answer(await services().packages.put(identity, wanted, await document(), overwrite=overwrite))


@entities.delete("/packages/<name>")
async def delete_package(namespace: str, name: str) -> Response:
    """Delete a package."""
    identity = caller()
    wanted = full_name(identity, namespace, name)
    return answer(await services().packages.delete(identity, wanted, force=flag("force")))


@entities.get("/triggers", strict_slashes=False)
async def list_triggers(namespace: str) -> Response:
    """All triggers of a namespace."""
    identity = caller()
    found = services().triggers.list(identity, resolve_namespace(namespace, identity))
    return listed(found, "triggers")


@entities.get("/triggers/<name>")
async def get_trigger(namespace: str, name: str) -> Response:
    """One trigger."""
    identity = caller()
    return answer(services().triggers.get(identity, full_name(identity, namespace, name)))


@entities.put("/triggers/<name>")
async def put_trigger(namespace: str, name: str) -> Response:
    """Create or update a trigger."""
    identity = caller()
    wanted, overwrite = full_name(identity, namespace, name), flag("overwrite")
    return answer(await services().triggers.put(identity, wanted, await document(), overwrite=overwrite))


@entities.delete("/triggers/<name>")
async def delete_trigger(namespace: str, name: str) -> Response:
    """Delete a trigger."""
    identity = caller()
    return answer(await services().triggers.delete(identity, full_name(identity, namespace, name)))


@entities.get("/rules", strict_slashes=False)
async def list_rules(namespace: str) -> Response:
    """All rules of a namespace."""
    identity = caller()
    found = services().rules.list(identity, resolve_namespace(namespace, identity))
    return listed(found, "rules")


@entities.get("/rules/<name>")
async def get_rule(namespace: str, name: str) -> Response:
    """One rule with its status."""
    identity = caller()
    return answer(services().rules.get(identity, full_name(identity, namespace, name)))


@entities.put("/rules/<name>")
async def put_rule(namespace: str, name: str) -> Response:
    """Create or update a rule."""
    identity = caller()
    wanted, overwrite = full_name(identity, namespace, name), flag("overwrite")
    return answer(await services().rules.put(identity, wanted, await document(), overwrite=overwrite))


@entities.post("/rules/<name>")
async def set_rule_status(namespace: str, name: str) -> Response:
    """Enable or disable a rule."""
    identity = caller()
    await services().rules.set_status(identity, full_name(identity, namespace, name), await document())
    return Response("OK", content_type="text/plain; charset=UTF-8")


@entities.delete("/rules/<name>")
async def delete_rule(namespace: str, name: str) -> Response:
    """Delete a rule."""
    identity = caller()
    return answer(await services().rules.delete(identity, full_name(identity, namespace, name)))
