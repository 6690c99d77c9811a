"""The peer connections to a server, which we offer; in the thread of the peers.

With `/rtc/v1` we offer one connection, whose channels carry both directions. With `/rtc` we offer a
connection to send on, and the server offers another for us to receive on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp
from livekit.protocol import rtc

from ...protocol.logs import peer_logger
from ...webrtc.aiortc_private import gather_also, ice_of
from ...webrtc.peer import Peer, PeerError
from ...webrtc.reports import SendReport
from ...webrtc.sdp import complete_answer, data_only
from .ice import IceServer, candidate_of, is_usable

logger = peer_logger(__name__)

#: The most addresses of a server that are tried; further ones are ignored.
_MAX_CANDIDATES: Final = 50
#: Seconds after which a server that is gone is noticed: it has dropped us by then.
_CONSENT_TIMEOUT: Final = 20.0


class OfferingPeer(Peer):
    """The peer connections to one server.

    Args:
        report: Called with each report for the stream of the link.
        has_subscriber: Whether the server offers a second connection, on which we receive.
        ice_servers: The servers for ICE.
        addresses: Addresses of ours that ICE leaves out by itself.
    """

    max_waiting = 200

    def __init__(
        self,
        report: SendReport,
        *,
        has_subscriber: bool,
        ice_servers: Sequence[IceServer],
        addresses: Sequence[str],
    ) -> None:
        super().__init__(
            report, has_two_connections=has_subscriber, consent_timeout=_CONSENT_TIMEOUT
        )
        self._ice_servers = ice_servers
        self._addresses = addresses
        self._candidates = 0
        # Addresses that came before the description of their connection
        self._early: dict[bool, list[str]] = {True: [], False: []}

    async def negotiate(self) -> None:
        """Offer the connection that we send on, and answer the server's offers of another."""
        await self._offer()
        while True:
            message = await self._descriptions.get()
            match message.WhichOneof("message"):
                case "answer":
                    await self._accept(message.answer)
                case "offer" if self._has_two_connections:
                    await self._answer(message.offer)
                case "trickle":
                    await self._on_trickle(message.trickle)
                case kind:
                    logger.debug("ignored signalling of kind %s about connections", kind)

    async def _offer(self) -> None:
        connection = self._new_connection()
        if self._has_two_connections:
            self._outgoing = connection
        else:
            self._incoming = connection
        for data_channel in self.open_channels(connection):
            if not self._has_two_connections:
                self.receive_on(data_channel)
        if not self._has_two_connections:
            self.limit_receiving(connection)
        self.report_description("offer", await self._describe_ours(connection), 1)

    async def _accept(self, answer: rtc.SessionDescription) -> None:
        connection = self._sending_connection
        if connection is None or connection.signalingState != "have-local-offer":
            logger.debug("ignored an answer to an offer that was not made")
            return
        sdp = _data_only(answer)
        await connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        await self._add_early_candidates(connection, is_subscriber=False)

    async def _answer(self, offer: rtc.SessionDescription) -> None:
        connection = self._incoming
        is_new = connection is None
        if connection is None:
            connection = self._incoming = self._new_connection()
            self.receive_from(connection)
        sdp = _data_only(offer)
        await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        if is_new:
            self.limit_receiving(connection)
        answer = complete_answer(await self._describe_ours(connection), offer.sdp)
        self.report_description("answer", answer, offer.id)
        await self._add_early_candidates(connection, is_subscriber=True)

    def _new_connection(self) -> RTCPeerConnection:
        servers = [
            RTCIceServer(each.url, each.username or None, each.credential or None)
            for each in self._ice_servers
        ]
        return self.new_connection(RTCConfiguration(iceServers=servers))

    async def _describe_ours(self, connection: RTCPeerConnection) -> str:
        gather_also(ice_of(connection), self._addresses)
        return await self.describe_ours(connection)

    # The server's addresses

    async def _on_trickle(self, trickle: rtc.TrickleRequest) -> None:
        self._candidates += 1
        if self._candidates > _MAX_CANDIDATES:
            logger.debug("ignored an address: %d came before", _MAX_CANDIDATES)
            return
        is_subscriber = self._has_two_connections and trickle.target == rtc.SUBSCRIBER
        connection = self._incoming if is_subscriber else self._sending_connection
        candidate = candidate_of(trickle.candidateInit)
        if candidate is None:
            logger.debug("ignored an address that can't be used")
        elif connection is None or not _is_described(connection):
            self._early[is_subscriber].append(candidate)
        else:
            await _add_candidate(connection, candidate)

    async def _add_early_candidates(
        self, connection: RTCPeerConnection, *, is_subscriber: bool
    ) -> None:
        early, self._early[is_subscriber] = self._early[is_subscriber], []
        for candidate in early:
            await _add_candidate(connection, candidate)


def _is_described(connection: RTCPeerConnection) -> bool:
    """Whether the server has described its side of a connection."""
    return cast("RTCSessionDescription | None", connection.remoteDescription) is not None


async def _add_candidate(connection: RTCPeerConnection, text: str) -> None:
    candidate = candidate_from_sdp(text.removeprefix("candidate:"))
    assert connection.sctp is not None
    candidate.sdpMid = connection.sctp.mid
    await connection.addIceCandidate(candidate)


def _data_only(description: rtc.SessionDescription) -> str:
    try:
        return data_only(description.sdp, keeps_candidate=is_usable)
    except ValueError as error:
        raise PeerError(f"its session description can't be used: {error}") from None
