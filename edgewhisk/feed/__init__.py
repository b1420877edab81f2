"""Stage 1: sources -> trigger events.

In: bytes of MQTT messages and serial ports, registers, due times, changes of databases, POSTs. Out:
`TriggerEvent`s, all that one wake-up brought in one call, through `shaped`. Pure: `payload`,
`mqtt_packets`, `mqtt_subscription`, `rebirth`, `schedule`, `alarm`, `shaping`, `backoff`, `garbage`.
Shells, one for each library: `mqtt_connection` (gmqtt), `broker` (amqtt), `serial` and `ports` (pyserial),
`modbus_bus` (pymodbus), `cron` (apscheduler), `couchdb` (httpx), `file` (sqlite3), `watch` (inotify).
"""
