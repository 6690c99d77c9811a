"""Streams of messages within one process."""

from __future__ import annotations

from typing import Final

from attrs import define

from .. import concurrency
from ..concurrency import CHANNEL_CLOSED, WOULD_BLOCK, ReceiveChannel, SendChannel
from .base import LinkClosedError

#: The messages that may be in flight in one direction.
_BUFFERED_MESSAGES: Final = 16


@define
class _Ending:
    reason: str = "the other side is gone"


@define(eq=False)
class MemoryStream:
    """One end of a pair of message streams; see `open_memory_streams`."""

    _outgoing: SendChannel[bytes]
    _incoming: ReceiveChannel[bytes]
    _our_ending: _Ending
    _their_ending: _Ending
    can_send_nowait: bool = True
    # A message in a channel counts as taken.
    unsent_bytes: int = 0

    def send_message_nowait(self, message: bytes) -> bool:
        try:
            self._outgoing.send_nowait(message)
        except WOULD_BLOCK:
            return False
        except CHANNEL_CLOSED:
            raise LinkClosedError(self._their_ending.reason) from None
        return True

    async def send_message(self, message: bytes) -> None:
        try:
            await self._outgoing.send(message)
        except CHANNEL_CLOSED:
            raise LinkClosedError(self._their_ending.reason) from None

    async def receive_message(self) -> bytes:
        try:
            return await self._incoming.receive()
        except CHANNEL_CLOSED:
            raise LinkClosedError(self._their_ending.reason) from None

    async def aclose(self, reason: str) -> None:
        if reason:
            self._our_ending.reason = reason
        self._outgoing.close()
        self._incoming.close()


def open_memory_streams() -> tuple[MemoryStream, MemoryStream]:
    """Open two streams; messages sent into one are received from the other."""
    backend = concurrency.current()
    to_far, from_near = backend.open_memory_channel(_BUFFERED_MESSAGES)
    to_near, from_far = backend.open_memory_channel(_BUFFERED_MESSAGES)
    near_ending, far_ending = _Ending(), _Ending()
    return (
        MemoryStream(to_far, from_far, near_ending, far_ending),
        MemoryStream(to_near, from_near, far_ending, near_ending),
    )
