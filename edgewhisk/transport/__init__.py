"""Connections to brokers, ports and servers, for feeds, actuators and capabilities alike."""
