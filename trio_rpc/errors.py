"""The public exceptions, and their tree.

    RoomError
    ├── RpcError                         a call failed
    │   ├── InvalidArguments             the callee does not accept the arguments
    │   └── InvalidResponse              the response does not fit the contract
    ├── ConnectError                     a room could not be joined
    ├── DisconnectedError                a room was lost, or left
    ├── PublishDataError                 data was not sent
    │   ├── PublishDTMFError
    │   └── PublishTranscriptionError
    ├── PublishTrackError                a track was not published
    ├── UnpublishTrackError              a track is not ours, or not published
    ├── StreamError                      a data stream was not sent, or broke off
    ├── SignalRequestError               the server refused a change, or did not answer
    ├── EventsLostError                  events came faster than they were read
    ├── InvalidTokenError                a token is not accepted
    ├── InvalidValueError                a value does not fit its type
    ├── RefusedError                     a server refuses a participant or a room
    └── QueueFullError                   the queue of a server's participant is full

`RpcError` travels between participants (rules E1 and E2 of the protocol); the others stay here.
An invalid argument is a `TypeError` or a `ValueError`, and the use of a room that was never joined
a `RuntimeError`: they are mistakes of the program, not to be caught.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import ClassVar, Final

_MAX_CODE: Final = 2**32 - 1


class RoomError(Exception):
    """The root of all public exceptions."""


class RpcError(RoomError):
    """The failure of a call. Raised in a handler, it reaches the caller unchanged.

    Any other exception that leaves a handler reaches the caller as 1500 `APPLICATION_ERROR`,
    without its text.

    Args:
        code: The code of the error, from 0 to 2**32 - 1. 1001 to 1999 are reserved for LiveKit,
            whose built-in codes are `RpcError.ErrorCode`.
        message: A description for people; cut to 256 UTF-8 bytes when it is sent.
        data: Further data, often JSON; cut to 15,360 UTF-8 bytes when it is sent.

    Raises:
        TypeError: `code` is not an `int`, or `message` or `data` is not a `str`.
        ValueError: `code` does not fit into 32 bits.
    """

    class ErrorCode(IntEnum):
        """LiveKit's built-in codes."""

        UNSUPPORTED_METHOD = 1400
        RECIPIENT_NOT_FOUND = 1401
        REQUEST_PAYLOAD_TOO_LARGE = 1402
        UNSUPPORTED_SERVER = 1403
        UNSUPPORTED_VERSION = 1404
        APPLICATION_ERROR = 1500
        CONNECTION_TIMEOUT = 1501
        RESPONSE_TIMEOUT = 1502
        RECIPIENT_DISCONNECTED = 1503
        RESPONSE_PAYLOAD_TOO_LARGE = 1504
        SEND_FAILED = 1505

    #: The fixed text of each built-in code.
    ErrorMessage: ClassVar[Mapping[ErrorCode, str]] = MappingProxyType(
        {
            ErrorCode.UNSUPPORTED_METHOD: "Method not supported at destination",
            ErrorCode.RECIPIENT_NOT_FOUND: "Recipient not found",
            ErrorCode.REQUEST_PAYLOAD_TOO_LARGE: "Request payload too large",
            ErrorCode.UNSUPPORTED_SERVER: "RPC not supported by server",
            ErrorCode.UNSUPPORTED_VERSION: "Unsupported RPC version",
            ErrorCode.APPLICATION_ERROR: "Application error in method handler",
            ErrorCode.CONNECTION_TIMEOUT: "Connection timeout",
            ErrorCode.RESPONSE_TIMEOUT: "Response timeout",
            ErrorCode.RECIPIENT_DISCONNECTED: "Recipient disconnected",
            ErrorCode.RESPONSE_PAYLOAD_TOO_LARGE: "Response payload too large",
            ErrorCode.SEND_FAILED: "Failed to send",
        }
    )

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        # The type checker believes the annotations; callers need not have one.
        if not isinstance(code, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"the code of an RpcError is an int, not {type(code).__name__}")
        if not 0 <= code <= _MAX_CODE:
            raise ValueError(f"the code of an RpcError is from 0 to {_MAX_CODE}, not {code}")
        if not isinstance(message, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"the message of an RpcError is a str, not {type(message).__name__}")
        if not isinstance(data, str | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"the data of an RpcError is a str or None, not {type(data).__name__}")
        super().__init__(code, message, data)
        self._code = code
        self._message = message
        self._data = data
        self._acknowledged = False

    @property
    def code(self) -> int:
        """The code of the error."""
        return self._code

    @property
    def message(self) -> str:
        """The description for people."""
        return self._message

    @property
    def data(self) -> str | None:
        """Further data, or None."""
        return self._data

    @property
    def acknowledged(self) -> bool:
        """Whether the callee had acknowledged the call that failed: a handler may have run."""
        return self._acknowledged

    def __str__(self) -> str:
        text = f"{int(self._code)} {self._message}"
        return text if self._data is None else f"{text}: {self._data}"

    @classmethod
    def built_in(cls, code: ErrorCode, data: str | None = None) -> RpcError:
        """Return the error of a built-in code, with its fixed message and `data`."""
        return cls(code, cls.ErrorMessage[code], data)


class ConnectError(RoomError):
    """A room could not be joined.

    Attributes:
        status: The HTTP status of the server's refusal (401: the token is not valid, 404: no room
            server at that URL); None if no server answered.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class DisconnectReason(IntEnum):
    """The reasons for which a participant is not in the room any more."""

    UNKNOWN_REASON = 0
    CLIENT_INITIATED = 1
    DUPLICATE_IDENTITY = 2
    SERVER_SHUTDOWN = 3
    PARTICIPANT_REMOVED = 4
    ROOM_DELETED = 5
    STATE_MISMATCH = 6
    JOIN_FAILURE = 7
    MIGRATION = 8
    SIGNAL_CLOSE = 9
    ROOM_CLOSED = 10
    USER_UNAVAILABLE = 11
    USER_REJECTED = 12
    SIP_TRUNK_FAILURE = 13
    CONNECTION_TIMEOUT = 14
    MEDIA_FAILURE = 15
    AGENT_ERROR = 16

    @classmethod
    def _missing_(cls, value: object) -> DisconnectReason:  # noqa: ARG003
        # A newer server may have reasons that we don't know.
        return cls.UNKNOWN_REASON


class DisconnectedError(RoomError):
    """The participant is not in the room any more.

    It comes out of the block of `Room.connect` when the room is lost, and is the `__cause__` of the
    errors of calls, data, streams and requests that come to nothing when a room is lost or left.

    Attributes:
        reason: LiveKit's name of the reason.
        message: The reason for people.
    """

    def __init__(self, reason: DisconnectReason, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


class PublishDataError(RoomError):
    """Data was not sent: too large, not permitted, or the room is gone."""


class PublishDTMFError(PublishDataError):
    """DTMF was not sent."""


class PublishTranscriptionError(PublishDataError):
    """A transcription was not sent."""


class PublishTrackError(RoomError):
    """A track was not published; the text says why."""


class UnpublishTrackError(RoomError):
    """A track was not unpublished; the text says why."""


class StreamError(RoomError):
    """A data stream was not sent, or broke off; the text says why."""


class SignalRequestError(RoomError):
    """The server refused a change of metadata, name or attributes, or did not answer.

    Attributes:
        reason: LiveKit's name of the reason: `NOT_ALLOWED`, `LIMIT_EXCEEDED`, `TIMEOUT`, …
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class EventsLostError(RoomError):
    """The events of a room came faster than they were read from its stream of events."""


class InvalidTokenError(RoomError):
    """A token is not accepted. The text says why, for people, and reveals no secret."""


class RefusedError(RoomError):
    """A server refuses a participant, or a room.

    Attributes:
        status: The HTTP status of the refusal.
        reason: The reason, for people.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class QueueFullError(RoomError):
    """The queue of a participant is full; nothing was sent to anybody."""
