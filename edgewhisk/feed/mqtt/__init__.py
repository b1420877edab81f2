"""The MQTT feed: the topics of any number of brokers."""
