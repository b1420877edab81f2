"""Stage 5: accepted events until they are recorded, activations until the cloud has them, entities.

Append-only: nothing is ever rewritten in place, and nothing is acknowledged before its fdatasync.
Pure: `journal` (frames). Shells: `log` (files), `committer` (group commit), `storage` (the only
door to TinyDB), `activations` and `artifacts` (the two stores).
"""
