"""The peer connections to a server, which we offer; in the thread of the peers.

With `/rtc/v1` we offer one connection, whose channels carry both directions. With `/rtc` we offer a
connection to send on, and the server offers another for us to receive on.

Whenever there are other tracks, the connection is offered again:

    stable ──a change, or the server's wish──► offered ──answer──► stable
                                               (changes wait)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.sdp import candidate_from_sdp
from livekit.protocol import rtc

from ...participant.tracks import Receiver
from ...protocol.logs import peer_logger
from ...webrtc.aiortc_private import gather_also, ice_of
from ...webrtc.media.audio_queue import AudioQueue
from ...webrtc.media.sections import MediaSections
from ...webrtc.media.video_slot import VideoSlot
from ...webrtc.peer import Peer, PeerError
from ...webrtc.reports import Received, Rejected, SendReport
from ...webrtc.sdp import whole, without_rejected
from .changes import Changes
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
        # The media of the connection that we offer, and the changes of it that wait
        self._media: MediaSections | None = None
        # That of the connection that the server offers
        self._offered_media: MediaSections | None = None
        self._changes = Changes()
        self._last_offer = 0

    # Media

    def publish(self, cid: str, media: AudioQueue | VideoSlot) -> None:
        """Send a track, by our id of it."""
        self._offer_soon()
        self._changes.publish(cid, media)

    def unpublish(self, cid: str) -> None:
        """Send a track no more."""
        self._offer_soon()
        self._changes.unpublish(cid)

    def _offer_soon(self) -> None:
        if not self._changes.are_wanted:
            # As the server asks for another offer.
            wish = rtc.MediaSectionsRequirement()
            self.describe(rtc.SignalResponse(media_sections_requirement=wish))

    # Descriptions

    async def negotiate(self) -> None:
        """Offer the connection that we send on, and answer the server's offers of another."""
        try:
            await self._offer()
            await self._converse()
        finally:
            for media in (self._media, self._offered_media):
                if media is not None:
                    media.end()

    async def _converse(self) -> None:
        while True:
            message = await self._descriptions.get()
            match message.WhichOneof("message"):
                case "answer":
                    await self._accept(message.answer)
                case "media_sections_requirement" if isinstance(message, rtc.SignalResponse):
                    wish = message.media_sections_requirement
                    self._changes.require(wish.num_audios, wish.num_videos)
                case "offer" if self._has_two_connections:
                    await self._answer(message.offer)
                case "reconnect":
                    self._restore()
                case "trickle":
                    await self._on_trickle(message.trickle)
                case kind:
                    logger.debug("ignored signalling of kind %s about connections", kind)
            await self._offer_again()

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
        self._media = MediaSections(connection, self._on_received)
        await self._describe(connection)

    async def _describe(self, connection: RTCPeerConnection) -> None:
        await self._describe_ours(connection)
        self._last_offer += 1
        self._report_offer(connection)

    def _report_offer(self, connection: RTCPeerConnection) -> None:
        assert self._media is not None
        sdp = self._media.without_idle(connection.localDescription.sdp)
        self.report_description("offer", sdp, self._last_offer)

    async def _offer_again(self) -> None:
        """Make the changes that wait, and offer them, unless an answer is still to come."""
        connection = self._sending_connection
        is_due = self._changes.are_wanted
        if not is_due or connection is None or connection.signalingState != "stable":
            return
        assert self._media is not None
        changes, self._changes = self._changes, Changes()
        for cid, media in changes.tracks.items():
            if media is not None:
                await self._media.send(cid, media)
            else:
                await self._media.stop(cid)
        self._media.require(changes.audios, changes.videos)
        await self._describe(connection)

    def _restore(self) -> None:
        """Go on after signalling was lost: an offer or its answer may have been lost with it."""
        connection = self._sending_connection
        assert self._media is not None
        if connection is None or not _is_described(connection):
            return
        if connection.signalingState == "have-local-offer":
            self._report_offer(connection)
        elif self._media.is_used:
            self._changes.are_wanted = True

    def _on_received(self, tracks: Mapping[str, Receiver]) -> None:
        self.report(Received(tracks))

    async def _accept(self, answer: rtc.SessionDescription) -> None:
        connection = self._sending_connection
        if connection is None or connection.signalingState != "have-local-offer":
            logger.debug("ignored an answer to an offer that was not made")
            return
        if answer.id not in (0, self._last_offer):
            logger.debug("ignored an answer to an earlier offer")
            return
        assert self._media is not None
        sdp, rejected = without_rejected(_usable(answer), connection.localDescription.sdp)
        await connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        await self._add_early_candidates(connection, is_subscriber=False)
        self.report(Rejected(self._media.sent_in(rejected)))
        if not self._has_two_connections:
            self._media.on_answer(answer.mid_to_track_id)

    async def _answer(self, offer: rtc.SessionDescription) -> None:
        connection = self._incoming
        is_new = connection is None
        if connection is None:
            connection = self._incoming = self._new_connection()
            self.receive_from(connection)
            self._offered_media = MediaSections(connection, self._on_received)
        sdp = _usable(offer)
        await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        if is_new:
            self.limit_receiving(connection)
        assert self._offered_media is not None
        self._offered_media.adopt()
        self.report_description("answer", await self._describe_ours(connection), offer.id)
        await self._add_early_candidates(connection, is_subscriber=True)
        self._offered_media.on_answer(offer.mid_to_track_id)

    def _new_connection(self) -> RTCPeerConnection:
        servers = [
            RTCIceServer(each.url, each.username or None, each.credential or None)
            for each in self._ice_servers
        ]
        policy = RTCBundlePolicy.MAX_BUNDLE
        return self.new_connection(RTCConfiguration(iceServers=servers, bundlePolicy=policy))

    async def _describe_ours(self, connection: RTCPeerConnection) -> str:
        if not _is_described(connection):
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
    # The first section has the transport of all.
    candidate.sdpMLineIndex = 0
    await connection.addIceCandidate(candidate)


def _usable(description: rtc.SessionDescription) -> str:
    try:
        return whole(description.sdp, keeps_candidate=is_usable)
    except ValueError as error:
        raise PeerError(f"its session description can't be used: {error}") from None
