"""Stage 5: accepted events until they are recorded, activations until the cloud has them, entities.

Append-only: nothing that counts is ever rewritten in place, and nothing is acknowledged before its
fdatasync. From the bottom up:

- `log/`: `disk` (what is asked of a file system), `frames` and `repair` (records as lines), `log` (a
directory of
  segments), `committer` (group commit).
- `documents/`: `entity_store` and `document_store`, through `tinydb_storage`, the only door to TinyDB.
- `activations/`: `lane` (a log with its `log_state` and its `catalog` of `index`es), `partitions` (all lanes;
  `retention` and `loss`: what has to go), `activations` (the store).
"""
