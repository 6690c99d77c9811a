"""Answers without a task of their own: acks of waiting requests, refusals, late errors."""

from __future__ import annotations

from collections import deque
from typing import Final

from livekit.protocol import models

from ..concurrency import Nursery
from ..links import LinkClosedError, LinkFullError
from ..links.packet_sender import PacketSender
from ..logs import peer_logger

logger = peer_logger(__name__)

#: The answers that wait for room in the link's queue. Further ones are dropped: their callers send
#: faster than this participant can answer.
_MAX_QUEUED: Final = 1000


class Replies:
    """Answers that are sent at once where the link has room, and by one task for all otherwise."""

    def __init__(self, packet_sender: PacketSender) -> None:
        self._packet_sender = packet_sender
        self._nursery: Nursery
        self._queued: deque[models.DataPacket] = deque()

    def run_in(self, nursery: Nursery) -> None:
        """Start the task in a nursery."""
        self._nursery = nursery

    def send(self, packet: models.DataPacket) -> None:
        """Send an answer, now or when there is room; it is dropped with the link."""
        if not self._queued:
            try:
                self._packet_sender.send_nowait(packet)
            except LinkClosedError:
                return
            except LinkFullError:
                self._nursery.start_soon(self._send_queued)
            else:
                return
        if len(self._queued) < _MAX_QUEUED:
            self._queued.append(packet)
        else:
            logger.debug("dropped an answer: %d wait for room in the link's queue", _MAX_QUEUED)

    async def _send_queued(self) -> None:
        while self._queued:
            try:
                await self._packet_sender.send(self._queued[0])
            except LinkClosedError:
                self._queued.clear()
                return
            self._queued.popleft()
