"""MQTT: the packet codec, connections to brokers, and the embedded broker."""
