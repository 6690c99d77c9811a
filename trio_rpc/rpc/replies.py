"""Answers: with a task of their own where they may be large, and without one otherwise.

Acks of waiting requests, refusals and late errors have no task of their own.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from livekit.protocol import models

from ..concurrency import Nursery
from ..errors import RpcError, StreamError
from ..links import LinkClosedError, LinkFullError
from ..links.packet_sender import PacketSender
from ..protocol.answered_requests import Outcome
from ..protocol.limits import MAX_PAYLOAD_BYTES, utf8_length
from ..protocol.logs import peer_logger
from ..protocol.rpc_messages import RPC_VERSION, response_info, rpc_response
from ..streams.outgoing import OutgoingStreams
from .requests import Request

logger = peer_logger(__name__)

#: The answers that wait for room in the link's queue. Further ones are dropped: their callers send
#: faster than this participant can answer.
_MAX_QUEUED: Final = 1000
#: So many characters fit into a packet, whichever they are: each takes at most 4 bytes.
_SHORT: Final = MAX_PAYLOAD_BYTES // 4


class Replies:
    """The answers of one session.

    Those without a task are sent at once where the link has room, and by one task for all
    otherwise.
    """

    def __init__(self, packet_sender: PacketSender, streams: OutgoingStreams) -> None:
        self._packet_sender = packet_sender
        self._streams = streams
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

    def respond_nowait(self, request: Request, outcome: Outcome) -> None:
        """Send the response to a request without waiting for room."""
        self.send(rpc_response(request.caller, request.id, outcome))

    async def respond(self, request: Request, outcome: Outcome) -> None:
        """Send the response to a request, once there is room.

        It is sent again if the request was repeated meanwhile (L7).

        Raises:
            LinkClosedError: the session is over.
            StreamError: the response broke off.
        """
        # In the version of the request, or as a stream if it is large (N4).
        as_packet = isinstance(outcome, RpcError) or (
            request.transport == RPC_VERSION
            and (len(outcome) <= _SHORT or utf8_length(outcome) <= MAX_PAYLOAD_BYTES)
        )
        request.is_repeated = True
        while request.is_repeated:
            request.is_repeated = False
            if as_packet:
                await self._packet_sender.send(rpc_response(request.caller, request.id, outcome))
                continue
            try:
                await self._respond_in_stream(request, str(outcome))
            except StreamError:
                if not request.is_repeated:
                    raise

    async def _respond_in_stream(self, request: Request, text: str) -> None:
        info = response_info(request.id, utf8_length(text))
        await self._streams.send_whole(info, text, [request.caller])

    async def _send_queued(self) -> None:
        while self._queued:
            try:
                await self._packet_sender.send(self._queued[0])
            except LinkClosedError:
                self._queued.clear()
                return
            self._queued.popleft()
