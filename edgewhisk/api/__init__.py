"""OpenWhisk's REST API over HTTP: the only door to quart.

In: requests. Out: what the controller answers, in the documents and error texts that OpenWhisk's
clients know. `handlers/` has one file for each collection. `server` accepts connections, `router` answers
what is asked often, `app` has Quart answer the rest; `http` is a request as both see it, `quart_adapter`
what Quart's routes read of one.
"""
