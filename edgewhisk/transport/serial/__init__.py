"""Serial ports: which there are, and those in use, each opened once for all who read and write it."""
