"""A real MQTT device, in the smallest form: connects, publishes at QoS 1, counts what was acknowledged.

python -m tests.path.publisher PORT TOPIC COUNT RATE
"""

from __future__ import annotations

import asyncio
import sys

import gmqtt
from gmqtt.mqtt.constants import MQTTv311


async def publish(port: int, topic: str, count: int, rate: float, qos: int = 1) -> None:
    """Publish {"seq": 1..count}, `rate` a second (0: at full speed), until all are acknowledged."""
    client = gmqtt.Client("test-device")
    await client.connect("127.0.0.1", port, version=MQTTv311)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for seq in range(1, count + 1):
        client.publish(topic, b'{"seq":%d}' % seq, qos=qos)
        if rate and (ahead := begun + seq / rate - loop.time()) > 0:
            await asyncio.sleep(ahead)
        elif seq % 100 == 0:
            await asyncio.sleep(0)
    if qos:
        await asyncio.wait_for(client._persistent_storage.wait_empty(), 30)
    await client.disconnect()


if __name__ == "__main__":
    asyncio.run(publish(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
