"""Feeds of changes: CouchDB databases, and rows of local files."""
