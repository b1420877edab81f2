"""OpenWhisk for a Raspberry-Pi-class gateway, in one process."""

__version__ = "0.1.0"
