"""The capability module: what the annotation `edge-capabilities` grants. See sandboxes/README.md."""

import base64
import json

import wit_world as _world


class CapabilityError(Exception):
    """The gateway refused, or could not do it."""


def ask(op, **fields):
    """Ask the gateway; the value of its answer. Raises `CapabilityError`."""
    try:
        request = json.dumps({"op": op, **fields}, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:  # no JSON value, a circle, NaN, too deep
        raise CapabilityError(f"{op}: the request cannot be written as JSON: {error}") from error
    answer = json.loads(_world.ask(request))
    if "error" in answer:
        raise CapabilityError(answer["error"])
    return answer["ok"]


def _base64(data):
    return base64.b64encode(data.encode() if isinstance(data, str) else bytes(data)).decode()


class state:
    """A little that one call leaves for the next."""

    @staticmethod
    def get(key, default=None):
        """The value of a key."""
        value = ask("state.get", key=key)
        return default if value is None else value

    @staticmethod
    def set(key, value):
        """Store a JSON value; None deletes."""
        ask("state.set", key=key, value=value)

    @staticmethod
    def delete(key):
        """Delete; whether there was one."""
        return ask("state.delete", key=key)

    @staticmethod
    def compare_and_set(key, expected, value):
        """Store if the value is `expected` (None: if there is none); whether it was."""
        return ask("state.compare_and_set", key=key, expected=expected, value=value)

    @staticmethod
    def keys():
        """All keys."""
        return ask("state.keys")


class Response:
    """What a server answered."""

    def __init__(self, answer):
        self.status = self.status_code = answer["status"]
        self.url = answer["url"]
        self.headers = {name.lower(): value for name, value in answer["headers"]}
        self.content = base64.b64decode(answer["body64"])
        self.ok = 200 <= self.status < 400

    @property
    def text(self):
        """The body as UTF-8."""
        return self.content.decode(errors="replace")

    def json(self):
        """The body's JSON."""
        return json.loads(self.content)


class http:
    """HTTP to granted hosts."""

    @staticmethod
    def fetch(url, method="GET", headers=None, body=None):
        """Send a request; a `Response`."""
        fields = {"url": url, "method": method, "headers": headers or {}}
        if body is not None:
            fields["body64"] = _base64(body)
        return Response(ask("http.fetch", **fields))


class mqtt:
    """The gateway's broker."""

    @staticmethod
    def publish(topic, payload, qos=0, retain=False):
        """Publish text, bytes, or anything else as JSON."""
        data = payload if isinstance(payload, (str, bytes, bytearray)) else json.dumps(payload)
        ask("mqtt.publish", topic=topic, payload64=_base64(data), qos=qos, retain=retain)


class serial:
    """The gateway's serial ports."""

    @staticmethod
    def write(port, data):
        """Write text or bytes."""
        ask("serial.write", port=port, data64=_base64(data))


def invoke(name, params=None):
    """The result of another action."""
    return ask("invoke", name=name, arguments=params or {})


def fire(name, params=None):
    """The activation id of a trigger fired."""
    return ask("fire", name=name, arguments=params or {})
