"""The Modbus feed: polls devices over RTU and TCP."""
