"""Modbus RTU and TCP: connections on which feeds and actuators take turns."""
