"""Every error EdgeWhisk raises on purpose.

Each one says what is wrong in its text, which HTTP status it means to a caller (`status`), what a
person should do about it (`hint`) and whether trying again may help (`retryable`). Errors of
libraries are translated at the module that talks to the library.

    EdgeWhiskError
      ConfigError            the configuration cannot be used; carries every fault found
      InstanceError          another gateway owns the state directory
      RequestError           somebody asked for something that cannot be done
        BadRequest           400
          MalformedContent   400, OpenWhisk's "The request content was malformed"
        Unauthorized         401
        Forbidden            403
        NotFound             404
        NotAcceptable        406
        Conflict             409
        TooLarge             413
        UnsupportedMedia     415
        Unprocessable        422
        Throttled            429
        Unavailable          503
      CapabilityError        an action asked for what cannot be done; an error inside the action
        NotGranted           its annotation `edge-capabilities`, or `[grants.SUBJECT]`, does not allow it
      FeedError              a feed refuses what it was asked; an application error of the feed action
        ServiceError         told as OpenWhisk's own package does
      SandboxError           a runtime cannot be loaded or an action cannot be initialised
      StorageError           507, the disk refused; nothing unacknowledged was promised
        NoRoom               507, others have filled the disk: what is here is kept, nothing new is taken
      CloudError             the cloud did not take a batch
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import ClassVar, Final

_LONGEST: Final = 200  # characters of a value that an error shows


def shown(value: object) -> str:
    """A value from outside as an error shows it: short, whatever it is."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


class EdgeWhiskError(Exception):
    """Root of all deliberate errors."""

    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        """Keep `message` (what is wrong) and `hint` (what to do)."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.headers: tuple[tuple[str, str], ...] = ()  # that a web action's route sends all the same

    @property
    def advice(self) -> str:
        """What is wrong and what to do, on one line."""
        return f"{self} ({self.hint})" if self.hint else str(self)

    @property
    def told(self) -> str:
        """What is wrong, for a caller of the API, who need not know where on this machine."""
        return self.message


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a configuration."""

    where: str  # the file, or the environment variable
    key: str  # dotted: "api.port"
    problem: str
    example: str = ""

    def __str__(self) -> str:
        """One line for a person."""
        text = f"{self.where}: {self.key}: {self.problem}"
        return f"{text} (example: {self.example})" if self.example else text


class ConfigError(EdgeWhiskError):
    """The configuration cannot be used."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        """Keep all `faults`, so that a person mends the file once."""
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class InstanceError(EdgeWhiskError):
    """Another gateway is using the state directory."""


class RequestError(EdgeWhiskError):
    """Base of the errors a caller of the API can cause."""

    status = 400


class BadRequest(RequestError):
    """The request makes no sense."""


class MalformedContent(BadRequest):
    """The body is not what the route takes; text as OpenWhisk's controller gives it."""

    def __init__(self, reason: str) -> None:
        """Wrap `reason` in OpenWhisk's sentence."""
        super().__init__(f"The request content was malformed:\n{reason}")
        self.reason = reason


class Unauthorized(RequestError):
    """No credentials, or wrong ones."""

    status = 401

    def __init__(self, message: str, *, challenge: bool = False) -> None:
        """`challenge` asks for a WWW-Authenticate header."""
        super().__init__(message)
        self.challenge = challenge


class Forbidden(RequestError):
    """The caller has no right to the resource."""

    status = 403

    def __init__(self, resource: str) -> None:
        """Name the `resource` as OpenWhisk does."""
        super().__init__(f"The supplied authentication is not authorized to access '{resource}'.")


class NotFound(RequestError):
    """There is no such resource."""

    status = 404

    def __init__(self, message: str = "The requested resource does not exist.", *, hint: str = "") -> None:
        """Default to OpenWhisk's sentence."""
        super().__init__(message, hint=hint)


class NotAcceptable(RequestError):
    """The client takes no type that there is."""

    status = 406


class Conflict(RequestError):
    """The resource is in a state that does not allow this."""

    status = 409


class TooLarge(RequestError):
    """Over a size limit."""

    status = 413


class UnsupportedMedia(RequestError):
    """Not a content type the route takes."""

    status = 415


class Unprocessable(RequestError):
    """The body is none that such a request may have."""

    status = 422


class Throttled(RequestError):
    """Over a rate or concurrency limit."""

    status = 429
    retryable = True


class Unavailable(RequestError):
    """The gateway cannot take this now."""

    status = 503
    retryable = True


class FeedError(EdgeWhiskError):
    """A feed refuses its parameters, or has no such trigger."""

    status = 502


class ServiceError(FeedError):
    """A `FeedError` that is told as an object, as OpenWhisk's own package for that feed tells it."""


class SandboxError(EdgeWhiskError):
    """A runtime cannot be loaded, or an action cannot be initialised in it."""


class StorageError(EdgeWhiskError):
    """The disk refused a write or a read."""

    status = 507
    retryable = True

    def __init__(self, message: str, *, hint: str = "", where: str = "") -> None:
        """`where`: the path, which is for the log and not for those who call."""
        super().__init__(f"{where}: {message}" if where else message, hint=hint)
        self.message = message


class NoRoom(StorageError):
    """The file system has less free space than the buffer leaves to others."""


class CloudError(EdgeWhiskError):
    """The cloud controller did not take what was sent."""

    status = 502
    retryable = True


class CapabilityError(EdgeWhiskError):
    """What an action asked of the gateway cannot be done; the text is for the action."""


class NotGranted(CapabilityError):
    """The action's annotation, or what is granted to the subject, does not allow what was asked for."""


class Undelivered(CapabilityError):
    """It could not be delivered now, and may be later."""

    retryable = True


# What is raised by reading bytes in which anything may stand. Whoever reads what is stored catches these and
# sets the one thing aside, counted and told: nothing that is stored may stop a start, a list or the sync.
UNREADABLE: Final = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    zlib.error,
    EdgeWhiskError,
)
