"""Connections whose other side is an input."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from typing import Final

import anyio
import anyio.lowlevel
from attrs import define, field

from .target import PropertyError

#: What may be written at the most in answer to an input.
MAX_WRITTEN: Final = 1024 * 1024


@define(eq=False)
class ScriptedByteStream:
    """A `ByteStream` on which what an input says comes in pieces, and then the end.

    Args:
        pieces: What comes.
        lasts: Whether it comes to no end, so that time has to pass until the connection ends.

    Attributes:
        written: What was sent so far.
    """

    pieces: Iterator[bytes]
    lasts: bool = False
    written: bytearray = field(factory=bytearray)
    _aborted: anyio.Event = field(factory=anyio.Event)

    @classmethod
    def of(cls, pieces: Iterable[bytes], *, lasts: bool = False) -> ScriptedByteStream:
        """Return a stream that these come on."""
        return cls(iter(pieces), lasts)

    @property
    def unsent_bytes(self) -> int:
        """No bytes: all that is written is taken."""
        return 0

    async def receive(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        if self._aborted.is_set():
            return b""
        for piece in self.pieces:
            if piece:
                return piece
        if self.lasts:
            await self._aborted.wait()
        return b""

    def write(self, data: bytes) -> bool:
        if self._aborted.is_set():
            raise ConnectionError("the connection was closed here")
        self.written += data
        if len(self.written) > MAX_WRITTEN:
            raise PropertyError(f"{len(self.written):,} bytes were written")
        # Now and then, there is no room for more.
        return len(self.written) % 4 != 3

    async def drain(self) -> None:
        await anyio.lowlevel.checkpoint()
        if self._aborted.is_set():
            raise ConnectionError("the connection was closed here")

    def write_eof(self) -> None:
        pass

    def abort(self) -> None:
        self._aborted.set()


class UnconnectedSocket(socket.socket):
    """A socket as a server accepts one, of which only the addresses are asked for."""

    def __init__(self) -> None:
        super().__init__(socket.AF_UNIX)
