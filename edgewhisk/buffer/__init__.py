"""Stage 5: accepted events until they are recorded, activations until the cloud has them, entities.

Append-only: nothing that counts is ever rewritten in place, and nothing is acknowledged before its
fdatasync. From the bottom up: `disk` (what is asked of a file system), `journal` and `repair`
(frames), `log` (a directory of segments). On it `artifacts` and `shelf` (documents, through
`storage`, the only door to TinyDB) and the activations: `lane` (a log with its `ledger` and its
`catalog` of `index`es), `records` (all lanes; `retention` and `loss`: what has to go), `committer`
(group commit), `activations` (the store). Pure: `journal`, `repair`, `index`, `ledger`, `loss`,
`retention`.
"""
