"""The annotations of actions and triggers that the gateway obeys."""
