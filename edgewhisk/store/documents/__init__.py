"""Documents on a log: the entity store and the document store."""
