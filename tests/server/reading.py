"""Participants that read slowly, fast, or not at all, and say that they live meanwhile."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.abc
from attrs import define, field
from livekit.protocol import models, rtc

from trio_rpc.links import Channel, Frame, LinkClosedError, LinkFullError

from ..support.messages import Message, leave_reasons, packets, texts, updates
from ..support.scripted_client import ScriptedClient


@define(eq=False)
class Reader:
    """Reads what a participant is sent, a message at a time.

    Attributes:
        pause: Seconds between two messages; infinite for one that does not read.
        messages: What it has read.
        closed_because: Why its link has ended.
    """

    member: ScriptedClient
    pause: float = 0.0
    messages: list[Message] = field(factory=list)
    closed_because: str | None = None
    _changed: anyio.Event = field(factory=anyio.Event)

    @property
    def packets(self) -> list[models.DataPacket]:
        return packets(self.messages)

    @property
    def texts(self) -> list[str]:
        return texts(self.messages)

    @property
    def leave_reasons(self) -> list[str]:
        return leave_reasons(self.messages)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is true of what was read, or the link has ended."""
        while not condition() and self.closed_because is None:
            await self._changed.wait()

    async def wait_packets(self, count: int) -> list[models.DataPacket]:
        """Wait until so many packets were read, or the link has ended."""
        await self.wait_until(lambda: len(self.packets) >= count)
        return self.packets

    async def wait_updates(self, count: int) -> list[models.ParticipantInfo]:
        """Wait until so many participants were announced, or the link has ended."""
        await self.wait_until(lambda: len(updates(self.messages)) >= count)
        return updates(self.messages)

    async def run(self) -> None:
        while self.closed_because is None:
            if self.pause:
                await anyio.sleep(self.pause)
            try:
                self.messages += await self.member.receive_batch()
            except LinkClosedError as error:
                self.closed_because = str(error)
            self._changed.set()
            self._changed = anyio.Event()


@asynccontextmanager
async def reading(
    *readers: tuple[ScriptedClient, float], every: float = 5
) -> AsyncIterator[list[Reader]]:
    """Read and ping for participants while the block runs, each with its pause.

    Args:
        every: Seconds between the pings.
    """
    started = [Reader(member, pause) for member, pause in readers]
    async with anyio.create_task_group() as tasks:
        for reader in started:
            tasks.start_soon(reader.member.keep_alive, every)
            if reader.pause < math.inf:
                tasks.start_soon(reader.run)
        yield started
        tasks.cancel_scope.cancel()


async def send_all(
    member: ScriptedClient, bodies: Iterable[models.DataPacket | rtc.SignalRequest]
) -> None:
    """Send packets and requests as fast as the link takes them, until it has ended."""
    with suppress(LinkClosedError):
        for body in bodies:
            channel = Channel.SIGNAL if isinstance(body, rtc.SignalRequest) else Channel.RELIABLE
            frame = Frame(channel, body.SerializeToString())
            while True:
                try:
                    member.link.send_nowait(frame)
                    break
                except LinkFullError:
                    await member.link.wait_writable()
