"""What componentize-py builds the component from."""

from edgewhisk._guest import WitWorld

__all__ = ["WitWorld"]
