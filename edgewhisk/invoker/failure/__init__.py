"""Actions that fail: what is tried again, and what is not for a while."""
