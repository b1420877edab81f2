"""From an action's wish to a device: MQTT messages, bytes on a port, Modbus registers, HTTP requests.

Pure: `request` (parameters -> what is to be sent). Shells: `outbox` (what could not be delivered yet is
kept on disk, in order for each target), `lost` (what was accepted and never will be), `http` (sends
requests).
"""
