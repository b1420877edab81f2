"""Stage 6: activations -> the cloud, each exactly once, whatever the network does.

In: batches of numbered records from the buffer. Out: a cloud that has all up to some number. Pure:
`batch` (bodies), `uplink` (what to do next, as a table). Shells: `client` (HTTP), `sync` (the loop),
`ingest` (the other side, which makes a gateway the cloud of others).
"""
