"""Packages and bindings: create, read, update, delete, list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgewhisk.base.threads import apart
from edgewhisk.controller.actions import check_size
from edgewhisk.controller.auth.entitlement import check_owner
from edgewhisk.controller.entities import Entities
from edgewhisk.entity.identity import Identity
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.entity.package import Package, PackagePut
from edgewhisk.errors import BadRequest, Conflict, Forbidden, NotFound
from edgewhisk.spi import Clock


class Packages:
    """The collection `packages`."""

    def __init__(
        self, entities: Entities, limits: Limits, clock: Clock, deleted: Callable[[str], None]
    ) -> None:
        """Over `entities`; `deleted` may block: an action ("guest/pkg/a") is gone."""
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
        provider = self._provider(identity, package)
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
        async with self._entities.changing():
            self._entities.claim(self._entities.packages, name)
            old = self._entities.packages.find(name)
            if old is not None and not overwrite:
                raise Conflict("resource already exists")
            if wanted.binding is not None:
                self._check_binding(identity, wanted.binding, old)
            now = self._clock.now()
            package = wanted.update(old, now) if old else wanted.create(name, now)
            check_size("parameters", package.parameters, self._limits)
            check_size("annotations", package.annotations, self._limits)
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

    def _provider(self, identity: Identity, package: Package) -> Package:
        if package.binding is None:
            return package
        provider = self._entities.packages.find(package.binding)
        if package.binding.namespace != identity.namespace and (provider is None or not provider.publish):
            raise Forbidden(package.name.key)
        if provider is None:
            raise NotFound
        return provider

    def _check_binding(self, identity: Identity, target: FullyQualifiedName, old: Package | None) -> None:
        provider = self._entities.packages.find(target)
        if target.namespace != identity.namespace and (provider is None or not provider.publish):
            raise Forbidden(target.key)
        if provider is None:
            try:
                self._entities.claim(self._entities.packages, target)
            except Conflict:
                raise Conflict("Cannot bind to a resource that is not a package.") from None
            raise BadRequest("Binding references a package that does not exist.")
        if provider.binding is not None:
            raise BadRequest("Cannot bind to another package binding.")
        if old is not None and old.binding is None:
            raise Conflict("Resource is a package and cannot be converted into a binding.")
