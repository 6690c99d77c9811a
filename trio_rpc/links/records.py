"""What a stream link sends over its socket: a preamble, and records after it.

Both sides begin with `PREAMBLE`, which names the protocol and its version. What follows are
records: one byte for the kind, four for the length of the body (big-endian), and the body.

    client                                      server
    PREAMBLE  HELLO: token, newline, JoinRequest
                                                PREAMBLE  ANSWER: "200 " or, say, "401 reason"
    MESSAGE: frames                             MESSAGE: frames
    …                                           …
    END: reason                                 END: reason

Nobody says anything after its END. A `MESSAGE` is what a WebSocket message is on that link; see
`frames`.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from enum import IntEnum
from typing import Final, NamedTuple

PREAMBLE: Final = b"trio-rpc.v1\n"
#: The largest body before a participant is let in: a token and what the client says of itself.
MAX_HELLO_BYTES: Final = 64 * 1024

_HEADER: Final = struct.Struct(">BI")
_HTTP: Final = re.compile(rb"HTTP/|[A-Z]{3,8} [/*h]")
_TLS: Final = re.compile(rb"[\x15\x16]\x03")


class RecordKind(IntEnum):
    """What a record is for."""

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
    """The other side speaks something else.

    Attributes:
        spoken: What it seems to be: `HTTP`, `TLS`, or a description.
    """

    def __init__(self, spoken: str) -> None:
        super().__init__(f"it speaks {spoken}, not trio-rpc.v1")
        self.spoken = spoken


def encode_record(kind: RecordKind, body: bytes) -> bytes:
    """One record, as it is sent."""
    return _HEADER.pack(kind, len(body)) + body


class RecordDecoder:
    """Takes bytes as they come, and gives records.

    Attributes:
        max_body_bytes: What the body of one record may have. A larger one is refused by its
            header, before anything of it is kept.
        records: What is complete and was not taken yet, the oldest first.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self.max_body_bytes = max_body_bytes
        self.records: deque[Record] = deque()
        self._rest = bytearray()
        self._begun = False

    def feed(self, data: bytes) -> None:
        """Take what has come.

        Raises:
            ProtocolMismatchError: the first bytes are not the preamble.
            ValueError: this is no record, or one that is too large; the records before it are kept,
                and nothing can be decoded after it.
        """
        if self._rest:
            self._rest += data
            taken = self._decode(self._rest)
            del self._rest[:taken]
        else:
            taken = self._decode(data)
            if taken < len(data):
                self._rest += data[taken:] if taken else data

    def _decode(self, data: bytes | bytearray) -> int:
        """Decode what is complete; returns how much that was."""
        position, end = 0, len(data)
        if not self._begun:
            if not data.startswith(PREAMBLE):
                if not PREAMBLE.startswith(data):
                    raise ProtocolMismatchError(_protocol_of(data))
                return 0
            self._begun = True
            position = len(PREAMBLE)
        while end - position >= _HEADER.size:
            number, length = _HEADER.unpack_from(data, position)
            kind = _KINDS.get(number)
            if kind is None:
                raise ValueError(f"a record of unknown kind {number}")
            if length > self.max_body_bytes:
                raise ValueError(
                    f"a record of {length:,} bytes, over the limit of {self.max_body_bytes:,}"
                )
            stop = position + _HEADER.size + length
            if stop > end:
                break
            self.records.append(Record(kind, bytes(data[position + _HEADER.size : stop])))
            position = stop
        return position


def _protocol_of(data: bytes | bytearray) -> str:
    if _HTTP.match(data):
        return "HTTP"
    if _TLS.match(data):
        return "TLS"
    if data.startswith(b"trio-rpc.v"):
        return "another version of trio-rpc"
    return "another protocol"
