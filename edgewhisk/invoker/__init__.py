"""Stage 3: when and where to run what was accepted, and write down what came of it.

In: `ActivationMessage`s. Out: `Record`s in the buffer. README.md tells the way, the threads and the
invariants.
"""
