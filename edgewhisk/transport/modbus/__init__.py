"""Modbus on serial lines."""
