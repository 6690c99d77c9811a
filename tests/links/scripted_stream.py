"""A message stream that a test scripts."""

from __future__ import annotations

import anyio

from trio_rpc.links import Channel, Frame, LinkClosedError

LARGE = Frame(Channel.RELIABLE, bytes(64_000))
SMALL = Frame(Channel.RELIABLE, b"small")


class ScriptedStream:
    """A message stream that records what is sent, and blocks and fails on demand."""

    unsent_bytes = 0

    def __init__(self, *, can_send_nowait: bool = False) -> None:
        self.can_send_nowait = can_send_nowait
        self.way_is_free = True
        self.asked = 0
        self.sent: list[bytes] = []
        self.incoming: list[bytes] = []
        self.closed_with: list[str] = []
        self.may_send = anyio.Event()
        self.may_send.set()
        self.may_close = anyio.Event()
        self.may_close.set()
        self.is_closed = anyio.Event()
        self.send_error: str | None = None

    def send_message_nowait(self, message: bytes) -> bool:
        assert self.may_send.is_set()
        self.asked += 1
        if self.send_error is not None:
            raise LinkClosedError(self.send_error)
        if self.way_is_free:
            self.sent.append(message)
        return self.way_is_free

    async def send_message(self, message: bytes) -> None:
        await self.may_send.wait()
        if self.send_error is not None:
            raise LinkClosedError(self.send_error)
        self.sent.append(message)

    async def receive_message(self) -> bytes:
        if self.incoming:
            return self.incoming.pop(0)
        await self.is_closed.wait()
        raise LinkClosedError("the stream was closed")

    async def aclose(self, reason: str) -> None:
        self.closed_with.append(reason)
        self.is_closed.set()
        await self.may_close.wait()
