"""Activation records as they are stored in blocks, counted, and taken from other gateways."""
