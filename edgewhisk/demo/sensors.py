"""Two simulated devices: one publishes over MQTT, the other writes lines to a pty."""

from __future__ import annotations

import asyncio
import math
import os
import tty

import gmqtt
from gmqtt.mqtt.constants import MQTTv311

from edgewhisk import jsontext

TOPIC = "demo/boiler/temperature"
_DRAIN = 20.0  # seconds for the broker to acknowledge the last messages


def temperature(seq: int) -> float:
    """A wave that crosses 40 degrees now and then, where the action raises an alarm."""
    return round(30 + 12 * math.sin(seq / 15), 2)


class MqttSensor:
    """Publishes JSON readings at QoS 1."""

    def __init__(self, port: int) -> None:
        """To the broker on loopback `port`."""
        self._port = port
        self._client = gmqtt.Client("demo-sensor")
        self.sent = 0

    async def connect(self) -> None:
        """Connect to the broker."""
        await self._client.connect("127.0.0.1", self._port, version=MQTTv311)

    async def run(self, rate: float) -> None:
        """Publish `rate` readings a second until cancelled."""
        while True:
            self.sent += 1
            reading = {"source": "mqtt", "seq": self.sent, "celsius": temperature(self.sent)}
            self._client.publish(TOPIC, jsontext.dumps(reading), qos=1)
            await asyncio.sleep(1 / rate)

    async def close(self) -> None:
        """Wait until the broker has everything, then go."""
        await asyncio.wait_for(self._client._persistent_storage.wait_empty(), _DRAIN)
        await self._client.disconnect()


class SerialSensor:
    """Writes JSON lines to a pty; the gateway opens the other end as a serial port."""

    def __init__(self) -> None:
        """Open the pty."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self.sent = 0

    async def run(self, rate: float) -> None:
        """Write `rate` readings a second until cancelled."""
        while True:
            self.sent += 1
            # The pressure counts the readings: the profile has no field for a number of its own.
            reading = {
                "temperature": temperature(self.sent),
                "humidity": 40 + self.sent % 20,
                "pressure": 300 + self.sent % 800,
            }
            os.write(self._master, jsontext.dumps(reading) + b"\r\n")
            await asyncio.sleep(1 / rate)

    def close(self) -> None:
        """Unplug."""
        os.close(self._master)
        os.close(self._slave)
