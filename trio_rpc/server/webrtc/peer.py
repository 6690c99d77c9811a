"""The peer connections of a client, which the server answers; in the thread of the peers.

With `/rtc/v1` the client offers one connection, and its channels carry both directions. With `/rtc`
the client offers a connection to send on, and we offer another for it to receive on.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from livekit.protocol import rtc

from ...webrtc.aiortc_private import gather_only, ice_of
from ...webrtc.ice_restart import restart_if_asked
from ...webrtc.peer import Peer, PeerError
from ...webrtc.reports import SendReport
from ...webrtc.sdp import complete_answer, data_only


class AnsweringPeer(Peer):
    """The peer connections of one client.

    Args:
        report: Called with each report for the stream of the participant.
        subscriber_primary: Whether we offer a second connection, on which the client receives.
        addresses: The addresses that the client reaches us at; empty for all but loopback.
        consent_timeout: Seconds after which a client that is gone is noticed.
    """

    def __init__(
        self,
        report: SendReport,
        *,
        subscriber_primary: bool,
        addresses: Sequence[str],
        consent_timeout: float,
    ) -> None:
        super().__init__(
            report, has_two_connections=subscriber_primary, consent_timeout=consent_timeout
        )
        self._addresses = addresses

    async def negotiate(self) -> None:
        """Answer the client's offers, and offer it the connection that it receives on."""
        if self._has_two_connections:
            await self._offer()
        while True:
            request = await self._descriptions.get()
            if request.HasField("offer"):
                await self._answer(request.offer)
            else:
                await self._accept(request.answer)

    async def _answer(self, offer: rtc.SessionDescription) -> None:
        data_offer = _data_only(offer)
        connection = self._incoming
        is_new = connection is None
        if connection is None:
            connection = self._incoming = self._new_connection()
            self.receive_from(connection)
        await connection.setRemoteDescription(RTCSessionDescription(data_offer, "offer"))
        if is_new:
            self.limit_receiving(connection)
        else:
            restart_if_asked(ice_of(connection), data_offer)
        answer = complete_answer(await self._describe_ours(connection), offer.sdp)
        self.report_description("answer", answer, offer.id)

    async def _offer(self) -> None:
        connection = self._outgoing = self._new_connection()
        self.open_channels(connection)
        self.report_description("offer", await self._describe_ours(connection), 1)

    async def _accept(self, answer: rtc.SessionDescription) -> None:
        connection = self._outgoing
        if connection is None or connection.signalingState != "have-local-offer":
            raise PeerError("it answered an offer that was not made")
        data_answer = _data_only(answer)
        await connection.setRemoteDescription(RTCSessionDescription(data_answer, "answer"))

    def _new_connection(self) -> RTCPeerConnection:
        return self.new_connection(RTCConfiguration(iceServers=[]))

    async def _describe_ours(self, connection: RTCPeerConnection) -> str:
        if self._addresses:
            gather_only(ice_of(connection), self._addresses)
        return await self.describe_ours(connection)


def _data_only(description: rtc.SessionDescription) -> str:
    try:
        return data_only(description.sdp)
    except ValueError as error:
        raise PeerError(f"its session description can't be used: {error}") from None
