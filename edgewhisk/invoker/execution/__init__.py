"""Runs batches: on the event loop, on workers, in the gateway itself."""
