"""The server's own calls, in which the caller is the server and no participant.

The requests come from an identity that nobody has, as with LiveKit's server. The room hands packets
for that identity to a `ServerCaller`, which uses the same machinery as a participant.
"""

from __future__ import annotations

from collections.abc import Sequence

from livekit.protocol import models

from ..concurrency import Backend, open_service_nursery
from ..errors import RpcError
from ..links import Channel, Frame
from ..links.packet_sender import PacketSender
from ..participant import Participant
from ..protocol.budgets import Budget
from ..protocol.ids import make_uuid
from ..protocol.limits import MAX_PACKET_BYTES, MAX_PAYLOAD_BYTES, CallLimits, utf8_length
from ..rpc.calls import DEFAULT_MAX_ROUND_TRIP_LATENCY, Calls
from ..rpc.endpoint import RpcEndpoint
from ..streams.buffer_context import BufferContext
from ..streams.outgoing import OutgoingStreams
from .rooms.member import Member
from .rooms.publisher import ServerPublisher


class ServerCaller:
    """One call of the server to a member of a room.

    Args:
        callee: The member that is called.
        publisher: The numbers of the server's own packets in the callee's room.
        max_response_bytes: The largest response that is accepted.
        budget: Charged for what the callee makes us hold (B4).

    Attributes:
        identity: The identity of the caller; the room hands on packets of the callee alone.
    """

    def __init__(
        self,
        backend: Backend,
        callee: Member,
        publisher: ServerPublisher,
        max_response_bytes: int,
        budget: Budget,
    ) -> None:
        self.identity = make_uuid()
        self._member = callee
        self._callee = Participant(callee.info())
        packet_sender = _MemberPacketSender(self.identity, callee, publisher)
        streams = OutgoingStreams(backend, packet_sender, self)
        context = BufferContext(backend, budget, max_response_bytes)
        limits = CallLimits(DEFAULT_MAX_ROUND_TRIP_LATENCY, MAX_PAYLOAD_BYTES)
        self._calls = Calls(packet_sender, streams, limits, context, {}, is_announced=False)
        self._endpoint = RpcEndpoint(context, self._calls)

    async def perform(self, method: str, payload: str, response_timeout: float) -> str:
        """Call the callee, and wait for the response; the arguments are validated already (C11).

        Raises:
            RpcError: the callee's error, or 1402, 1501, 1502, 1503, 1505.
        """
        if denied_reason := self._member.permissions.publish_denied_reason(self._callee.identity):
            what = f"it could not be answered: {denied_reason}"
            raise RpcError.built_in(RpcError.ErrorCode.SEND_FAILED, what)
        async with open_service_nursery() as nursery:
            nursery.start_soon(self._calls.run_timeouts)
            try:
                return await self._calls.perform(
                    self._callee, method, payload, utf8_length(payload), response_timeout
                )
            finally:
                self._endpoint.end("the call is over")

    def on_packet(self, sender: str, packet: models.DataPacket, kind: str) -> None:
        """Handle a packet to our identity."""
        self._endpoint.handle(sender, packet, kind)

    def on_departure(self, member: Member) -> None:
        """End the call if the member that leaves is the callee."""
        if member is self._member:
            self._endpoint.end(f"{member.identity!r} left the room")

    # `Receivers`: the abilities of the callee

    def all_take_inline(self, destinations: Sequence[str]) -> bool:  # noqa: ARG002
        return self._callee._abilities.takes_inline

    def all_inflate(self, destinations: Sequence[str]) -> bool:  # noqa: ARG002
        return self._callee._abilities.inflates


class _MemberPacketSender(PacketSender):
    """A sender of packets to the callee, in the name of the call's identity.

    The packets have the numbers of the server's own (L4): every call has an identity of its own,
    for which no sequence has to be kept.
    """

    def __init__(self, identity: str, member: Member, publisher: ServerPublisher) -> None:
        us = models.ParticipantInfo(identity=identity, sid=publisher.sid)
        super().__init__(member.resumable or member.send_queue, us)
        self._identity = identity
        self._publisher = publisher

    def send_nowait(self, packet: models.DataPacket, max_bytes: int = MAX_PACKET_BYTES) -> bool:
        packet.participant_identity = self._identity
        self._publisher.number(packet)
        body = packet.SerializeToString()
        if len(body) > max_bytes:
            return False
        self._link.send_nowait(Frame(Channel.RELIABLE, body))
        return True
