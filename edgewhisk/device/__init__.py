"""Bytes of a device <-> readings, as a profile in `devices/` describes them.

Pure: `framing` (bytes -> frames), `decode` (frame -> readings), `profile` (what a device is). Shell:
`library` (finds and reads the files).
"""
