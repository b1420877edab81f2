"""What could not be delivered: dead letters, and commands for actuators. Not part of OpenWhisk's API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from edgewhisk.api.http import HttpRequest, HttpResponse
from edgewhisk.api.services import Services
from edgewhisk.errors import Conflict, NotFound


async def owned(
    ask: HttpRequest, verbs: Services, *, what: str, verb: Callable[..., Awaitable[Any]], **names: str
) -> HttpResponse:
    """The result of `verb`, for the gateway's owner: letters and commands may be of any namespace."""
    verbs.check_owner(ask, what)
    return HttpResponse.of(await verb(verbs, **names))


async def list_letters(verbs: Services) -> list[dict[str, Any]]:
    """Messages that were refused and events that are not run, with reasons."""
    return verbs.letters.list()


async def retry_letter(verbs: Services, key: str) -> dict[str, str]:
    """Take a message once more, as its trigger is fed now, or run an event; off the list if it was taken."""
    letter = verbs.letters.find(key)
    if letter is None:
        raise _unknown(key)
    if letter.size:
        problem = f"only {len(letter.payload)} of its {letter.size} bytes were kept: it cannot be retried"
        raise Conflict(problem, hint=f"edgewhisk queue drop {key}")
    answered: dict[str, str] = {"retried": key}
    event = letter.message(verbs.new_id(), letter.at)
    if event is None:
        await verbs.mqtt.retry(letter)
    else:
        answered["activationId"] = await verbs.controller.retry(event)
    await verbs.letters.drop([key])
    return answered


async def drop_letter(verbs: Services, key: str) -> dict[str, str]:
    """Forget a letter."""
    if not await verbs.letters.drop([key]):
        raise _unknown(key)
    return {"dropped": key}


async def list_commands(verbs: Services) -> list[dict[str, Any]]:
    """Commands that wait for their target, and those that were lost, with reasons."""
    return verbs.outbox.rows()


async def retry_command(verbs: Services, key: str) -> dict[str, Any]:
    """Try a command now."""
    return await verbs.outbox.retry(key)


async def drop_command(verbs: Services, key: str) -> dict[str, str]:
    """Forget a command, also one that waits."""
    await verbs.outbox.drop(key)
    return {"dropped": key}


def _unknown(key: str) -> NotFound:
    return NotFound(f"there is no dead letter {key}", hint="edgewhisk queue show lists them")
