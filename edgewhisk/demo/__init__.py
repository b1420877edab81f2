"""`edgewhisk demo`: two real gateways, two simulated sensors, and proof that nothing got lost.

Nothing is faked but the sensors: each byte goes through the broker, the pty, the sandbox, the disk
and HTTP. `gateway` runs a gateway as a process, `client` talks to its API, `sensors` are the devices,
`screen` shows it, `story` tells it.
"""
