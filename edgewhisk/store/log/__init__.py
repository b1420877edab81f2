"""The log: frames in segment files, written in groups, repaired when read."""
