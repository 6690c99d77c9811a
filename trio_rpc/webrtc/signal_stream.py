"""Bare signalling messages, as LiveKit's WebSockets carry them."""

from __future__ import annotations

from attrs import define

from ..links import Channel, Frame, MessageStream
from ..links.frames import decode_frames, encode_frames


@define(eq=False)
class SignalStream:
    """A `MessageStream` over a WebSocket that carries bare signalling messages, without frames."""

    _websocket: MessageStream
    can_send_nowait: bool = False

    @property
    def unsent_bytes(self) -> int:
        return self._websocket.unsent_bytes

    def send_message_nowait(self, message: bytes) -> bool:  # noqa: ARG002
        return False

    async def send_message(self, message: bytes) -> None:
        for frame in decode_frames(message):
            await self._websocket.send_message(frame.body)

    async def receive_message(self) -> bytes:
        body = await self._websocket.receive_message()
        return encode_frames([Frame(Channel.SIGNAL, body)])

    async def aclose(self, reason: str) -> None:
        await self._websocket.aclose(reason)
