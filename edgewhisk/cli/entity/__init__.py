"""Commands on OpenWhisk's entities: what `wsk` does."""
