"""The embedded MQTT broker.

For a gateway without a broker beside it, and for the demo. It lives in this process and keeps
sessions and undelivered messages in memory: what it acknowledged to a sensor and the gateway had not yet
put on disk is lost with the process, and where the disk is full. Where that must not be, run mosquitto with
`persistence true` and name it in `[mqtt] url`.
"""

from __future__ import annotations

import logging
import socket
import warnings
from ipaddress import ip_address
from typing import Any

from edgewhisk.errors import InstanceError


class EmbeddedBroker:
    """A broker on the gateway's own event loop."""

    def __init__(self, host: str, port: int) -> None:
        """Listen on `host:port`, without authentication, so on loopback only; port 0 takes a free one."""
        self._host = host
        self._port = port
        self._broker: Any = None

    async def start(self) -> int:
        """Begin to serve; the port. Raises `InstanceError` when that cannot be."""
        if not _is_loopback(self._host):
            hint = "run mosquitto with passwords for that, and name it in [mqtt] url"
            raise InstanceError(
                f"the embedded broker listens on loopback only, not on {self._host}", hint=hint
            )
        self._port = _free_port(self._host, self._port)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of amqtt's own plug-in loading
            from edgewhisk.transport.mqtt.broker_bounds import (
                BoundedBroker,  # heavy: only who uses it pays for it
            )

            for name in ("amqtt", "transitions"):
                logging.getLogger(name).setLevel(logging.ERROR)
            self._broker = BoundedBroker(
                {
                    "listeners": {"default": {"type": "tcp", "bind": f"{self._host}:{self._port}"}},
                    "plugins": {
                        "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
                    },
                }
            )
            await self._broker.start()
        return self._port

    async def stop(self) -> None:
        """Close every connection."""
        if self._broker is not None:
            await self._broker.shutdown()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _free_port(host: str, port: int) -> int:
    """The port to listen on; raises `InstanceError` when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            hint = f'a broker may run there: set [mqtt] url = "mqtt://{host}:{port}"'
            text = f"the embedded broker cannot listen on {host}:{port}: {error.strerror}"
            raise InstanceError(text, hint=hint) from error
        found: int = probe.getsockname()[1]
        return found
