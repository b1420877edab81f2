"""Stage 1: sources -> trigger events.

In: bytes of MQTT messages and serial ports, registers, due times, changes of databases, POSTs. Out:
`TriggerEvent`s, what one wake-up brought together, through `shaped`. Pure: `payload`, `mqtt_packets`,
`mqtt_subscription`, `mqtt_gathering`, `mqtt_limits`, `mqtt_strife`, `rebirth`, `schedule`, `alarm`,
`shaping`, `backoff`, `garbage`. Shells, one for each library: `mqtt_connection` with `mqtt_client` (gmqtt),
`mqtt_wake` (the kernel), `broker` (amqtt), `serial` and `ports` (pyserial), `modbus_bus`
(pymodbus), `cron` (apscheduler), `couchdb` (httpx), `file` (sqlite3), `watch` (inotify).
"""
