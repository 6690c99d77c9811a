"""The format of a stream link: a preamble, and records after it.

Both sides begin with `PREAMBLE`, which names the protocol and its version. Records follow: one byte
for the kind, four for the length of the body (big-endian), and the body.

    client                                      server
    PREAMBLE  HELLO: token, newline, JoinRequest
                                                PREAMBLE  ANSWER: "200 " or, say, "401 reason"
    MESSAGE: frames                             MESSAGE: frames
    …                                           …
    END: reason                                 END: reason

Neither side sends anything after its END. A `MESSAGE` has the same content as a message on a
WebSocket; see `frames`.
"""

from __future__ import annotations

import re
import struct
from enum import IntEnum
from typing import Final, NamedTuple

PREAMBLE: Final = b"trio-rpc.v1\n"
#: The largest body before a participant is admitted: a token and the client's description.
MAX_HELLO_BYTES: Final = 64 * 1024

_HEADER: Final = struct.Struct(">BI")
_HTTP: Final = re.compile(rb"HTTP/|[A-Z]{3,8} [/*h]")
_TLS: Final = re.compile(rb"[\x15\x16]\x03")


class RecordKind(IntEnum):
    """The purpose of a record."""

    HELLO = 1
    ANSWER = 2
    MESSAGE = 3
    END = 4


_KINDS: Final = {kind.value: kind for kind in RecordKind}


class Record(NamedTuple):
    """One record."""

    kind: RecordKind
    body: bytes


class ProtocolMismatchError(ValueError):
    """A peer that speaks another protocol.

    Attributes:
        spoken: The protocol that it seems to speak: `HTTP`, `TLS`, or a description.
    """

    def __init__(self, spoken: str) -> None:
        super().__init__(f"it speaks {spoken}, not trio-rpc.v1")
        self.spoken = spoken


def encode_record(kind: RecordKind, body: bytes) -> bytes:
    """Encode one record."""
    return _HEADER.pack(kind, len(body)) + body


class RecordDecoder:
    """A decoder of bytes as they come, one record at a time (rule B7).

    Bytes that are fed and not decoded are kept. So a reader that feeds only when there is no
    complete record left keeps at most one incomplete record and one read.

    Attributes:
        max_body_bytes: The limit for the body of one record. A larger one is refused by its header,
            before any of it is kept.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self.max_body_bytes = max_body_bytes
        # The bytes fed, of which all before `_position` are decoded
        self._data: bytes | bytearray = b""
        self._position = 0
        self._begun = False

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        if self._position == len(self._data):
            # A read mostly ends with a record, and nothing has to be copied.
            self._data = data
        elif isinstance(self._data, bytearray):
            # This moves the beginning of the array, and none of its content.
            del self._data[: self._position]
            self._data += data
        else:
            self._data = bytearray(memoryview(self._data)[self._position :])
            self._data += data
        self._position = 0

    def next_record(self) -> Record | None:
        """Decode the next record, or return None while it is not complete.

        Raises:
            ProtocolMismatchError: the first bytes are not the preamble.
            ValueError: the bytes are not a record, or it is too large; nothing can be decoded after
                them.
        """
        if not self._begun and not self._skip_preamble():
            return None
        data, position = self._data, self._position
        body = position + _HEADER.size
        if len(data) < body:
            return None
        number, length = _HEADER.unpack_from(data, position)
        kind = _KINDS.get(number)
        if kind is None:
            raise ValueError(f"a record of unknown kind {number}")
        if length > self.max_body_bytes:
            raise ValueError(
                f"a record of {length:,} bytes, over the limit of {self.max_body_bytes:,}"
            )
        stop = body + length
        if stop > len(data):
            return None
        self._position = stop
        return Record(kind, bytes(data[body:stop]))

    def _skip_preamble(self) -> bool:
        """Skip the preamble, and return whether it has come as a whole."""
        if self._data.startswith(PREAMBLE):
            self._begun = True
            self._position = len(PREAMBLE)
        elif not PREAMBLE.startswith(self._data):
            raise ProtocolMismatchError(_protocol_of(self._data))
        return self._begun


def _protocol_of(data: bytes | bytearray) -> str:
    if _HTTP.match(data):
        return "HTTP"
    if _TLS.match(data):
        return "TLS"
    if data.startswith(b"trio-rpc.v"):
        return "another version of trio-rpc"
    return "another protocol"
