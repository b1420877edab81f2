"""Packages and bindings: create, read, update, delete, list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgewhisk.base.threads import apart
from edgewhisk.controller.auth.entitlement import check_owner
from edgewhisk.controller.entities import Entities
from edgewhisk.controller.resolver import Resolver
from edgewhisk.entity.identity import Identity
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.entity.package import Package, PackagePut
from edgewhisk.entity.parameters import check_size
from edgewhisk.errors import BadRequest, Conflict, Forbidden, NotFound
from edgewhisk.spi import Clock


class Packages:
    """The collection `packages`."""

    def __init__(
        self,
        entities: Entities,
        resolver: Resolver,
        limits: Limits,
        clock: Clock,
        deleted: Callable[[str], None],
    ) -> None:
        """Over `entities`; `deleted` may block: an action ("guest/pkg/a") is gone."""
        self._resolver = resolver
        self._deleted = deleted
        self._entities = entities
        self._limits = limits
        self._clock = clock

    def list(self, identity: Identity, namespace: str) -> list[Package]:
        """All of one's own; of another namespace the published ones that are no bindings."""
        found = self._entities.packages.within(namespace)
        if identity.namespace != namespace:
            found = [package for package in found if package.publish and package.binding is None]
        return found

    def get(self, identity: Identity, name: FullyQualifiedName) -> dict[str, Any]:
        """The document with its actions and feeds; a binding shows its provider's."""
        package = self._entities.packages.find(name)
        if identity.namespace != name.namespace and (
            package is None or not package.publish or package.binding is not None
        ):
            raise Forbidden(name.key)
        if package is None:
            self._entities.claim(self._entities.packages, name)
            raise NotFound(f"The requested resource '{name.key}' does not exist.")
        provider = self._provider(package)
        document = package.to_json()
        document["parameters"] = provider.parameters.merged(package.parameters).to_json()
        inside = self._entities.actions.within(provider.name.key)
        document["actions"] = [
            {
                "name": action.name.name,
                "version": str(action.version),
                "annotations": action.annotations.to_json(),
            }
            for action in inside
            if "feed" not in action.annotations
        ]
        document["feeds"] = [
            {
                "name": action.name.name,
                "version": str(action.version),
                "annotations": action.annotations.to_json(),
            }
            for action in inside
            if "feed" in action.annotations
        ]
        return document

    async def put(
        self, identity: Identity, name: FullyQualifiedName, body: Any, *, overwrite: bool
    ) -> dict[str, Any]:
        """Create or update; returns the document."""
        check_owner(identity, name.namespace, name.key)
        wanted = PackagePut.from_json(body, name.namespace)
        check_size("parameters", wanted.parameters, self._limits)
        check_size("annotations", wanted.annotations, self._limits)
        if wanted.binding is not None:
            self._check_bindable(identity, wanted.binding)
        async with self._entities.changing():
            self._entities.claim(self._entities.packages, name)
            old = self._entities.packages.find(name)
            if old is not None and not overwrite:
                raise Conflict("resource already exists")
            if wanted.binding is not None:
                self._check_binding(wanted.binding, old)
            now = self._clock.now()
            package = wanted.update(old, now) if old else wanted.create(name, now)
            await self._entities.write(("packages", name.key, package))
        return package.to_json()

    async def delete(
        self, identity: Identity, name: FullyQualifiedName, *, force: bool = False
    ) -> dict[str, Any]:
        """Delete; a package with actions only with `force`, which deletes them too."""
        check_owner(identity, name.namespace, name.key)
        async with self._entities.changing():
            package = self._entities.get(self._entities.packages, name)
            inside = [] if package.binding else self._entities.actions.within(name.key)
            if inside and not force:
                entities = "1 entity" if len(inside) == 1 else f"{len(inside)} entities"
                raise Conflict(
                    f"Package not empty (contains {entities}). Set force param or delete package contents."
                )
            await self._entities.write(
                *(("actions", action.name.key, None) for action in inside), ("packages", name.key, None)
            )
            for action in inside:
                await apart("forget state", self._deleted, action.name.key)
        return package.to_json()

    def _provider(self, package: Package) -> Package:
        if package.binding is None:
            return package
        self._resolver.check_binding(package)
        return self._entities.get(self._entities.packages, package.binding)

    def _check_bindable(self, identity: Identity, target: FullyQualifiedName) -> None:
        """Raise what a caller is told who may not read the package that it binds to."""
        try:
            self._resolver.check_package(target, identity.namespace)
        except NotFound:
            raise BadRequest("Binding references a package that does not exist.") from None
        except Conflict:
            raise Conflict("Cannot bind to a resource that is not a package.") from None

    def _check_binding(self, target: FullyQualifiedName, old: Package | None) -> None:
        if old is not None and old.binding is None:
            raise Conflict("Resource is a package and cannot be converted into a binding.")
        provider = self._entities.packages.find(target)
        if provider is None:
            raise BadRequest("Binding references a package that does not exist.")
        if provider.binding is not None:
            raise BadRequest("Cannot bind to another package binding.")
