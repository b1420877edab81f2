"""The activation store: lanes of records and events on logs that share commits."""
