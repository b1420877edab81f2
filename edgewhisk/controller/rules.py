"""Rules: create, read, update, delete, list, and their status, which their trigger keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgewhisk.controller.auth.entitlement import check_owner
from edgewhisk.controller.entities import Entities
from edgewhisk.controller.resolver import Resolver
from edgewhisk.entity.identity import Identity
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.entity.parameters import check_size
from edgewhisk.entity.rule import Rule, RulePut
from edgewhisk.entity.trigger import RuleLink, Trigger
from edgewhisk.errors import BadRequest, Conflict, MalformedContent, NotFound
from edgewhisk.spi import Clock


class Rules:
    """The collection `rules`."""

    def __init__(self, entities: Entities, resolver: Resolver, limits: Limits, clock: Clock) -> None:
        """`resolver` tells whether an action can be found."""
        self._entities = entities
        self._resolver = resolver
        self._limits = limits
        self._clock = clock

    def list(self, identity: Identity, namespace: str) -> list[Rule]:
        """Those of a namespace."""
        check_owner(identity, namespace, namespace)
        return self._entities.rules.within(namespace)

    def get(self, identity: Identity, name: FullyQualifiedName) -> dict[str, Any]:
        """The document with its status."""
        check_owner(identity, name.namespace, name.key)
        rule = self._entities.get(self._entities.rules, name)
        return rule.with_status(active=self._active(rule))

    async def put(
        self, identity: Identity, name: FullyQualifiedName, body: Any, *, overwrite: bool
    ) -> dict[str, Any]:
        """Create (active) or update (status kept); returns the document."""
        check_owner(identity, name.namespace, name.key)
        wanted = RulePut.from_json(body, identity.namespace)
        check_size("annotations", wanted.annotations, self._limits)
        self._check_rights(identity, wanted)
        async with self._entities.changing():
            self._entities.claim(self._entities.rules, name)
            old = self._entities.rules.find(name)
            if old is not None and not overwrite:
                raise Conflict("resource already exists")
            now = self._clock.now()
            rule = wanted.update(old, now) if old else wanted.create(name, now)
            trigger = self._check_ends(rule)
            active = self._active(old) if old else True
            changes: dict[str, Trigger] = {}
            if old is not None and old.trigger != rule.trigger:
                changes.update(self._unlinked(old))
            changes[trigger.name.key] = _linked(trigger, rule, active=active)
            await self._entities.write(
                *(("triggers", key, value) for key, value in changes.items()), ("rules", name.key, rule)
            )
        return rule.with_status(active=active)

    async def delete(self, identity: Identity, name: FullyQualifiedName) -> dict[str, Any]:
        """Delete, active or not."""
        check_owner(identity, name.namespace, name.key)
        async with self._entities.changing():
            rule = self._entities.get(self._entities.rules, name)
            await self._entities.write(
                *(("triggers", key, value) for key, value in self._unlinked(rule).items()),
                ("rules", name.key, None),
            )
        return rule.with_status(active=False)

    async def set_status(self, identity: Identity, name: FullyQualifiedName, body: Any) -> None:
        """Make a rule active or inactive."""
        check_owner(identity, name.namespace, name.key)
        status = body.get("status") if isinstance(body, dict) else None
        if not isinstance(status, str):
            raise MalformedContent("status must be 'active' or 'inactive'")
        if status not in ("active", "inactive"):
            raise MalformedContent(f"requirement failed: {status} is not a recognized rule state")
        async with self._entities.changing():
            rule = self._entities.get(self._entities.rules, name)
            trigger = self._entities.triggers.find(rule.trigger)
            if trigger is None:
                if status == "inactive":
                    return
                raise NotFound("Only rules with existing triggers can be activated")
            linked = _linked(trigger, rule, active=status == "active")
            await self._entities.write(("triggers", trigger.name.key, linked))

    def _active(self, rule: Rule) -> bool:
        trigger = self._entities.triggers.find(rule.trigger)
        link = trigger.links.get(rule.name.key) if trigger else None
        return link is not None and link.active

    def _check_rights(self, identity: Identity, wanted: RulePut) -> None:
        """Raise what a caller is told who may not fire the trigger or run the action of a rule."""
        if wanted.action is not None:
            self._resolver.check_rights([wanted.action], identity.namespace)
        if wanted.trigger is not None:
            check_owner(identity, wanted.trigger.namespace, wanted.trigger.key)

    def _check_ends(self, rule: Rule) -> Trigger:
        """The trigger of a rule; raises `BadRequest` if it or the action is missing."""
        trigger = self._entities.triggers.find(rule.trigger)
        if trigger is None:
            raise BadRequest(f"trigger {rule.trigger} does not exist")
        if self._resolver.locate(rule.action) is None:
            raise BadRequest(f"action {rule.action} does not exist")
        return trigger

    def _unlinked(self, rule: Rule) -> dict[str, Trigger]:
        """The trigger of `rule` without its link, if there is one."""
        trigger = self._entities.triggers.find(rule.trigger)
        if trigger is None or rule.name.key not in trigger.links:
            return {}
        rules = {key: link for key, link in trigger.links.items() if key != rule.name.key}
        return {trigger.name.key: replace(trigger, rules=rules)}


def _linked(trigger: Trigger, rule: Rule, *, active: bool) -> Trigger:
    return replace(trigger, rules={**trigger.links, rule.name.key: RuleLink(rule.action, active)})
