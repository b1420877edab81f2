"""OpenWhisk's REST API over HTTP: the only door to quart.

In: requests. Out: what the controller answers, in the documents and error texts that OpenWhisk's
clients know. `handlers/` has one file for each collection, `routes` the table of all routes. `server` accepts
connections, `router` answers from the table, `quart_adapter` has Quart answer the rest; `http` is a request
as the handlers see it.
"""
