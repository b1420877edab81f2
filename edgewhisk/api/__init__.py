"""OpenWhisk's REST API over HTTP: the only door to quart.

In: requests. Out: what the controller answers, in the documents and error texts that OpenWhisk's
clients know. One file for each collection; `reading` holds what all of them read of a request.
"""
