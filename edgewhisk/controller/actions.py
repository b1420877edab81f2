"""Actions: create, read, update, delete, list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgewhisk.base.threads import apart
from edgewhisk.controller.auth.entitlement import check_owner, check_readable
from edgewhisk.controller.entities import Entities
from edgewhisk.controller.resolver import Resolver
from edgewhisk.entity.action import Action, ActionPut
from edgewhisk.entity.annotations.delivery import at_most_once, priority
from edgewhisk.entity.annotations.grants import Grants
from edgewhisk.entity.annotations.lane import check_lane
from edgewhisk.entity.exec import SequenceExec
from edgewhisk.entity.identity import Identity
from edgewhisk.entity.invocation.arguments import ResolvedAction
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.entity.parameters import check_size
from edgewhisk.errors import BadRequest, Conflict, Forbidden, NotFound
from edgewhisk.spi import Clock, Sandbox


class Actions:
    """The collection `actions`."""

    def __init__(
        self,
        entities: Entities,
        resolver: Resolver,
        sandbox: Sandbox,
        limits: Limits,
        clock: Clock,
        deleted: Callable[[str], None],
    ) -> None:
        """`sandbox` knows the kinds and judges code; `deleted` may block: an action ("guest/a") is gone."""
        self._deleted = deleted
        self._entities = entities
        self._resolver = resolver
        self._sandbox = sandbox
        self._limits = limits
        self._clock = clock

    def list(self, identity: Identity, namespace: str, package: str | None = None) -> list[Action]:
        """Items of a namespace or of one of its packages."""
        if package is None:
            check_owner(identity, namespace, namespace)
            return self._entities.actions.within(namespace)
        name = FullyQualifiedName(namespace, None, package)
        found = self._entities.packages.find(name)
        check_readable(identity.namespace, FullyQualifiedName(namespace, None, package), found)
        if found is None:
            raise NotFound
        self._resolver.check_binding(found)
        source = found.binding or name
        return self._entities.actions.within(source.key)

    def get(self, identity: Identity, name: FullyQualifiedName, *, code: bool = True) -> dict[str, Any]:
        """The document, with the parameters of package and binding merged in."""
        bound = self.find(identity, name)
        document = bound.action.to_json(code=code)
        document["parameters"] = bound.parameters.to_json()
        if bound.binding and not code:
            document["binding"] = bound.binding
        return document

    def find(self, identity: Identity, name: FullyQualifiedName) -> ResolvedAction:
        """The action that the caller may read and run, with what is bound to it."""
        bound = self._resolver.entitled(name, identity.namespace)
        if bound is None:
            self._entities.claim(self._entities.actions, name)
            raise NotFound
        return bound

    def check_rights(self, identity: Identity, name: FullyQualifiedName) -> None:
        """Raise what a caller is told who may not run `name`, or whose package is not there."""
        self._resolver.check_rights([name], identity.namespace)

    def check_package(self, name: FullyQualifiedName) -> None:
        """Raise unless `name` is outside of packages, or in one that actions can be written in."""
        if name.package is None:
            return
        inside = FullyQualifiedName(name.namespace, None, name.package)
        if self._entities.get(self._entities.packages, inside).binding is not None:
            raise BadRequest("Operation not permitted on package binding.")

    def find_web(self, name: FullyQualifiedName) -> ResolvedAction:
        """The action that a web request names, whoever asks; raises `NotFound`."""
        try:
            bound = self._resolver.entitled(name, name.namespace)
        except Forbidden:
            bound = None
        if bound is None:
            raise NotFound
        return bound

    async def put(
        self, identity: Identity, name: FullyQualifiedName, body: Any, *, overwrite: bool
    ) -> dict[str, Any]:
        """Create or update; returns the document."""
        check_owner(identity, name.namespace, name.key)
        wanted = ActionPut.from_json(
            body, kinds=self._sandbox.kinds, namespace=name.namespace, limits=self._limits
        )
        if isinstance(wanted.exec, SequenceExec):
            self._resolver.check_rights(wanted.exec.components, identity.namespace)
        # To compile takes 14 s for a large module: others change their entities meanwhile.
        checked = self._made(identity, name, wanted, overwrite=overwrite)
        await apart("check code", self._sandbox.check, checked.exec)
        async with self._entities.changing():
            action = self._made(identity, name, wanted, overwrite=overwrite)
            if self._entities.actions.find(name) is None:  # what an earlier one left at a power cut
                await apart("forget state", self._deleted, name.key)
            await self._entities.write(("actions", name.key, action))
        return action.to_json()

    def _made(
        self, identity: Identity, name: FullyQualifiedName, wanted: ActionPut, *, overwrite: bool
    ) -> Action:
        """The action that is wanted, as things are now; raises what is wrong with it."""
        self.check_package(name)
        self._entities.claim(self._entities.actions, name)
        old = self._entities.actions.find(name)
        if old is not None and not overwrite:
            raise Conflict("resource already exists")
        now = self._clock.now()
        action = wanted.update(old, now) if old else wanted.create(name, self._limits, now)
        self._check(identity, action)
        return action

    async def delete(self, identity: Identity, name: FullyQualifiedName) -> dict[str, Any]:
        """Delete; rules that name the action stay and log an error when they fire."""
        check_owner(identity, name.namespace, name.key)
        async with self._entities.changing():
            self.check_package(name)
            action = self._entities.get(self._entities.actions, name)
            await self._entities.write(("actions", name.key, None))
            await apart("forget state", self._deleted, name.key)
        return action.to_json()

    def _check(self, identity: Identity, action: Action) -> None:
        _ = at_most_once(action.annotations), priority(action.annotations)  # raise if they are wrong
        check_size("parameters", action.parameters, self._limits)
        check_size("annotations", action.annotations, self._limits)
        if isinstance(action.exec, SequenceExec):
            self._check_sequence(identity, action.name, action.exec.components)
        Grants.of(action.annotations)
        check_lane(action.annotations)

    def _check_sequence(
        self, identity: Identity, sequence: FullyQualifiedName, components: Sequence[FullyQualifiedName]
    ) -> None:
        """Raise `BadRequest` for what can never run; `Forbidden` for components of others."""
        if not components:
            raise BadRequest("No component specified for the sequence.")
        self._count(identity, sequence, components, 0)

    def _count(
        self,
        identity: Identity,
        sequence: FullyQualifiedName,
        components: Sequence[FullyQualifiedName],
        atoms: int,
    ) -> int:
        """Number of actions that are no sequences, those of inner sequences too, on top of `atoms`."""
        if len(components) > self._limits.sequence_length:
            raise BadRequest("Too many actions in the sequence.")
        if sequence in map(self._resolver.resolved, components):
            raise BadRequest("Sequence may not refer to itself.")
        for name in components:
            part = self._resolver.entitled(name, identity.namespace)
            if part is None:
                raise BadRequest("Sequence component does not exist.")
            inner = part.sequence
            atoms = atoms + 1 if inner is None else self._count(identity, sequence, inner, atoms)
            if atoms > self._limits.sequence_length:
                raise BadRequest("Too many actions in the sequence.")
        return atoms
