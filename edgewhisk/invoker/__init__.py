"""Stage 3: when and where to run what was accepted, and write down what came of it.

In: `ActivationMessage`s. Out: `Record`s in the buffer. Pure: `queue` (fairness, order), `pace` (how
many runs one batch may hold), `leisure` (what the event loop has time for), `composition` (sequences
and conductors). Shells: `invoker` (threads), `runner` (what one thread does).
"""
