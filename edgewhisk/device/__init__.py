"""Bytes of a device <-> readings, as a profile in `devices/` describes them.

Pure: `framing` (bytes -> frames), `decode` (frame -> readings). Shell: `profile` (reads the files).
"""
