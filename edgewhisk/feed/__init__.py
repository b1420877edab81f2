"""Stage 1: sources -> trigger events.

In: bytes of MQTT messages and serial ports, due times. Out: `TriggerEvent`s, all that one wake-up
brought in one call. Pure: `topics`, `payload`, `schedule`, `backoff`, `garbage`. Shells, one for
each library: `mqtt` (gmqtt), `broker` (amqtt), `serial` (pyserial), `cron` (apscheduler).
"""
