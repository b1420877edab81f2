"""Stage 1: sources -> trigger events.

In: bytes of MQTT messages and serial ports, registers, due times, changes of databases, POSTs. Out:
`TriggerEvent`s, what one wake-up brought together, through `shaping`. One folder or file for each feed:
`mqtt`, `serial`, `modbus`, `alarms` (apscheduler), `changes` (CouchDB, SQLite and TinyDB), `http`.
Connections and codecs are below, in `edgewhisk/transport`. Pure: `payload`, `parameters`, `rejects`.
"""
