"""The serial feed: what devices send on serial ports."""
