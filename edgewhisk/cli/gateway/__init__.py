"""Commands on the gateway itself: run, status, subjects, certificates."""
