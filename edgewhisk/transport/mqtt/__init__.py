"""MQTT: the packet codec and the sessions at brokers."""
