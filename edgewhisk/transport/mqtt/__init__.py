"""MQTT: the packet codec, the sessions at brokers, and the embedded broker."""
