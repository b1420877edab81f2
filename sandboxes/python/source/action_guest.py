"""What componentize-py builds the component from."""

import openwhisk  # found by actions
from edgewhisk._guest import WitWorld

__all__ = ["WitWorld", "openwhisk"]
