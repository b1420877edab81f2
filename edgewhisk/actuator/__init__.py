"""From an action's wish to a device: MQTT messages, bytes on a port, Modbus registers, HTTP requests.

Pure: `request` (what is to be sent). `target` says what a kind of target is, `targets` has one file for each
kind. Shells: `outbox` (what could not be delivered yet is kept on disk, in order for each target), `lost`
(what was accepted and never will be).
"""
