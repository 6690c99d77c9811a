"""Links without faults, which report what is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from livekit.protocol import rtc

from trio_rpc.links import Channel, Connector, Frame, Link
from trio_rpc.protocol.retained import RetainedPackets
from trio_rpc.testing import PacketFate


class TappedConnector:
    """A way to a server that is as good as the one below.

    Args:
        on_packet: Called with each packet that a participant sends, as by a `FaultyNetwork`.
    """

    def __init__(self, connector: Connector, on_packet: Callable[[PacketFate], None]) -> None:
        self._connector = connector
        self._on_packet = on_packet

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncIterator[Link]:
        """Open a link for the block; see `trio_rpc.links.Connector`."""
        async with self._connector.open_link(token, request) as link:
            yield _TappedLink(link, self._on_packet)


class _TappedLink:
    def __init__(self, link: Link, on_packet: Callable[[PacketFate], None]) -> None:
        self._link = link
        self._on_packet = on_packet
        self.can_resume = link.can_resume
        self.roster_delay = link.roster_delay
        self.media = link.media
        self.flush_nowait = link.flush_nowait
        self.wait_writable = link.wait_writable
        self.wait_sent = link.wait_sent
        self.receive = link.receive
        self.discard_queued = link.discard_queued
        self.aclose = link.aclose

    @property
    def retained(self) -> RetainedPackets | None:
        return self._link.retained

    @retained.setter
    def retained(self, retained: RetainedPackets | None) -> None:
        self._link.retained = retained

    @property
    def queued_bytes(self) -> int:
        return self._link.queued_bytes

    def send_nowait(self, frame: Frame, *, flush_follows: bool = False) -> None:
        if frame.channel is Channel.RELIABLE:
            self._on_packet(PacketFate("sent", frame, (0.0,)))
        self._link.send_nowait(frame, flush_follows=flush_follows)

    def resend_nowait(self, frames: Iterable[Frame]) -> None:
        for frame in frames:
            self.send_nowait(frame)
