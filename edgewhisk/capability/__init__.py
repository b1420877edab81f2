"""What actions may do beyond computing, each granted by the annotation `edge-capabilities`.

In: a request of a call (`spi.Asker` and JSON). Out: an answer. `dispatcher` checks the grant and
finds who does it: `state` keeps a little for each action, `fetch` asks an HTTP server, `host`
reaches what lives on the event loop (MQTT, serial ports, other actions, triggers).
"""
