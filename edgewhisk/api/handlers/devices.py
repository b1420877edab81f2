"""Routes for devices, and for what could not be delivered. Not part of OpenWhisk's API."""

from __future__ import annotations

from quart import Blueprint, Response, request

from edgewhisk.api.http import HttpResponse
from edgewhisk.api.quart_adapter import answer, caller, sent, services
from edgewhisk.entity.identity import GUEST
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import Conflict, Forbidden, NotFound, TooLarge

devices = Blueprint("devices", __name__)
_LARGEST = 1 << 20  # bytes of one request
_LETTERS = "/edgewhisk/dead-letters"
_COMMANDS = "/edgewhisk/commands"


@devices.post("/api/v1/devices/<namespace>/<trigger>")
async def post(namespace: str, trigger: str) -> Response:
    """Readings of a device, answered when they are on disk."""
    name = parse_name(f"/{namespace}/{trigger}", namespace)
    device = services().tokens.check(request.headers.get("Authorization", ""), name)
    count = await services().posts.post(name, device, await _body())
    return sent(HttpResponse.of({"accepted": count}, 202))


async def _body() -> bytes:
    """What the device sends, whether it says how long it is or not."""
    body = bytearray()
    if (request.content_length or 0) <= _LARGEST:
        async for data in request.body:
            body += data
            if len(body) > _LARGEST:
                break
        else:
            return bytes(body)
    raise TooLarge(f"a device may send {_LARGEST} bytes at once")


@devices.get(_LETTERS)
async def letters() -> Response:
    """Messages that were refused and events that are not run, with reasons."""
    _own(_LETTERS)
    return answer(services().letters.list())


@devices.post(f"{_LETTERS}/<key>/retry")
async def retry(key: str) -> Response:
    """Take a message once more, as its trigger is fed now, or run an event; off the list if it was taken."""
    _own(_LETTERS)
    letter = services().letters.find(key)
    if letter is None:
        raise _unknown(key)
    if letter.size:
        problem = f"only {len(letter.payload)} of its {letter.size} bytes were kept: it cannot be retried"
        raise Conflict(problem, hint=f"edgewhisk queue drop {key}")
    answered: dict[str, str] = {"retried": key}
    event = letter.message(services().new_id(), letter.at)
    if event is None:
        await services().mqtt.retry(letter)
    else:
        answered["activationId"] = await services().controller.retry(event)
    await services().letters.drop([key])
    return answer(answered)


@devices.delete(f"{_LETTERS}/<key>")
async def drop(key: str) -> Response:
    """Forget a letter."""
    _own(_LETTERS)
    if not await services().letters.drop([key]):
        raise _unknown(key)
    return answer({"dropped": key})


@devices.get(_COMMANDS)
async def commands() -> Response:
    """Commands that wait for their target, and those that were lost, with reasons."""
    _own(_COMMANDS)
    return answer(services().outbox.rows())


@devices.post(f"{_COMMANDS}/<key>/retry")
async def try_again(key: str) -> Response:
    """Try a command now."""
    _own(_COMMANDS)
    return answer(await services().outbox.retry(key))


@devices.delete(f"{_COMMANDS}/<key>")
async def drop_command(key: str) -> Response:
    """Forget a command, also one that waits."""
    _own(_COMMANDS)
    await services().outbox.drop(key)
    return answer({"dropped": key})


def _unknown(key: str) -> NotFound:
    return NotFound(f"there is no dead letter {key}", hint="edgewhisk queue show lists them")


def _own(what: str) -> None:
    """Letters and commands may be of any namespace: they are the gateway's owner's."""
    if caller().subject != GUEST:
        raise Forbidden(what.removeprefix("/"))
