"""The server's own calls: it is the caller, and no participant.

Its requests come from an identity that nobody has, as those of LiveKit's server do. The room brings
what is sent to that identity here, to the same machinery that participants call with.
"""

from __future__ import annotations

from collections.abc import Sequence

from livekit.protocol import models

from ..concurrency import Backend
from ..errors import RpcError
from ..links.packet_sender import PacketSender
from ..participant import Participant
from ..protocol.budgets import Budget
from ..protocol.capabilities import inflates, takes_inline
from ..protocol.ids import make_uuid
from ..protocol.limits import MAX_PAYLOAD_BYTES, CallLimits
from ..rpc.calls import DEFAULT_MAX_ROUND_TRIP_LATENCY, Calls
from ..rpc.endpoint import RpcEndpoint
from ..streams.buffer import BufferContext
from ..streams.outgoing import OutgoingStreams
from .rooms.member import Member


class ServerCaller:
    """One call of the server's to a member of a room.

    Args:
        callee: Who is called.
        max_response_bytes: The largest response that is taken.
        budget: Charged for what the callee makes us hold (B4).

    Attributes:
        identity: Who the callee is called by; the room lets no participant's packets but those of
            the callee count.
    """

    def __init__(
        self, backend: Backend, callee: Member, max_response_bytes: int, budget: Budget
    ) -> None:
        self.identity = make_uuid()
        self._member = callee
        self._callee = Participant(callee.info())
        packet_sender = _MemberPacketSender(self.identity, callee)
        streams = OutgoingStreams(backend, packet_sender, self)
        context = BufferContext(backend, budget, max_response_bytes)
        limits = CallLimits(DEFAULT_MAX_ROUND_TRIP_LATENCY, MAX_PAYLOAD_BYTES)
        self._calls = Calls(packet_sender, streams, limits, context)
        self._endpoint = RpcEndpoint(context, self._calls)

    async def perform(self, method: str, payload: str, response_timeout: float) -> str:
        """Call, and wait for the response; the arguments were checked (C11).

        Raises:
            RpcError: as the callee sent it, or 1402, 1501, 1502, 1503, 1505.
        """
        if denied_reason := self._member.permissions.publish_denied_reason(self._callee.identity):
            what = f"it could not be answered: {denied_reason}"
            raise RpcError.built_in(RpcError.ErrorCode.SEND_FAILED, what)
        try:
            return await self._calls.perform(self._callee, method, payload, response_timeout)
        finally:
            self._endpoint.end("the call is over")

    def on_packet(self, sender: str, packet: models.DataPacket) -> None:
        """Somebody in the room sent something to our identity."""
        self._endpoint.handle(sender, packet)

    def on_departure(self, member: Member) -> None:
        """A member is leaving the room; if it is the callee, it will not answer any more."""
        if member is self._member:
            self._endpoint.end(f"{member.identity!r} left the room")

    # For whom the request is meant: `Receivers`

    def all_take_inline(self, destinations: Sequence[str]) -> bool:  # noqa: ARG002
        return takes_inline(self._callee)

    def all_inflate(self, destinations: Sequence[str]) -> bool:  # noqa: ARG002
        return inflates(self._callee)


class _MemberPacketSender(PacketSender):
    """Where the packets of a call leave for its callee, as if they came from somebody in the room.

    They have no number (P6): every call comes from somebody else, of whom there is nothing to
    remember.
    """

    def __init__(self, identity: str, member: Member) -> None:
        super().__init__(member.send_queue, models.ParticipantInfo(identity=identity))
        self._identity = identity

    def _numbered(self, packet: models.DataPacket) -> bytes:
        packet.participant_identity = self._identity
        return packet.SerializeToString()
