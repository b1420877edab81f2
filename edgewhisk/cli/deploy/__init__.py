"""Manifests: `edgewhisk deploy` and `edgewhisk undeploy`."""
