"""Ways into a room: as another client, and over a link that has no room for some packets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
from attrs import define, field
from livekit.protocol import models, rtc

from trio_rpc.links import Channel, Connector, Frame, Link, LinkFullError
from trio_rpc.protocol.retained import RetainedPackets

from .stream_packets import CANCELLATION, DEFLATE_RAW


def client(client_protocol: int = 2, *capabilities: int) -> models.ClientInfo:
    """Return the description of a client, as it is sent on joining."""
    info = models.ClientInfo(client_protocol=client_protocol)
    info.capabilities.extend(capabilities)  # type: ignore[arg-type]
    return info


#: One of this library, and one of LiveKit's, new and old.
CURRENT = client(2, DEFLATE_RAW, CANCELLATION)
LIVEKIT = client(2, DEFLATE_RAW)
OLD = client(0)


@define
class As:
    """A connector that joins as the client that `client` describes: `Room.connect(As(…))`."""

    connector: Connector
    client: models.ClientInfo

    def open_link(self, token: str, request: rtc.JoinRequest) -> AbstractAsyncContextManager[Link]:
        request.client_info.CopyFrom(self.client)
        return self.connector.open_link(token, request)


@define(eq=False)
class HoldingLink:
    """A link that has no room for frames that `holds` names, until it is released."""

    link: Link
    holds: Callable[[models.DataPacket], bool]
    held: anyio.Event = field(factory=anyio.Event)
    released: anyio.Event = field(factory=anyio.Event)
    can_resume: bool = True
    roster_delay: float = 0.0
    media: None = None

    @property
    def retained(self) -> RetainedPackets | None:
        return self.link.retained

    @retained.setter
    def retained(self, retained: RetainedPackets | None) -> None:
        self.link.retained = retained

    def send_nowait(self, frame: Frame, *, flush_follows: bool = False) -> None:
        is_data = frame.channel in (Channel.RELIABLE, Channel.LOSSY)
        is_open = not is_data or self.released.is_set()
        if not is_open and self.holds(models.DataPacket.FromString(frame.body)):
            self.held.set()
            raise LinkFullError("held by the test")
        self.link.send_nowait(frame, flush_follows=flush_follows)

    def resend_nowait(self, frames: Iterable[Frame]) -> None:
        self.link.resend_nowait(frames)

    def flush_nowait(self) -> None:
        self.link.flush_nowait()

    async def wait_sent(self) -> None:
        await self.released.wait()
        await self.link.wait_sent()

    async def wait_writable(self) -> None:
        await (self.link.wait_writable() if self.released.is_set() else self.released.wait())

    @property
    def queued_bytes(self) -> int:
        return self.link.queued_bytes

    async def receive(self) -> list[Frame]:
        return await self.link.receive()

    def discard_queued(self) -> None:
        self.link.discard_queued()

    async def aclose(self, reason: str = "") -> None:
        self.released.set()
        await self.link.aclose(reason)


@define(eq=False)
class Holding:
    """A connector whose link holds what `holds` names."""

    connector: Connector
    holds: Callable[[models.DataPacket], bool]
    link: HoldingLink = field(init=False)

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncIterator[Link]:
        async with self.connector.open_link(token, request) as link:
            self.link = HoldingLink(link, self.holds)
            yield self.link
