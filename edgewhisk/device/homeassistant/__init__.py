"""Home Assistant's MQTT discovery and its value templates. Pure."""
