"""The participants with LiveKit's SDKs: their sessions, and the WebSockets that these have.

The task of a client's first WebSocket serves its session, for as long as the peer connections last.
When that WebSocket is lost, the client comes back over another one, whose task only carries its
signalling.
"""

from __future__ import annotations

from attrs import define, field, frozen
from livekit.protocol import rtc

from ... import concurrency
from ...errors import DisconnectReason
from ...links import LinkClosedError, MessageStream
from ...protocol.logs import peer_logger
from ...tokens import Claims
from ...webrtc.thread import PeerThread
from ..admission import Admission
from ..join_request import JoinParameters, Resumption
from ..rooms.member import Member, leave_request
from ..rooms.room import ServerRoom
from ..session import Opening, serve_member
from .link import WebRTCLink, open_webrtc_link

logger = peer_logger(__name__)


@frozen(eq=False)
class _Session:
    link: WebRTCLink
    room: ServerRoom
    member: Member

    def may_be_resumed_with(self, claims: Claims) -> bool:
        member = self.member
        return (
            (self.room.name, member.identity) == (claims.grants.room, claims.identity)
            and member.close_reason is None
            and self.room.members.get(member.identity) is member
        )


@define(eq=False)
class LiveKitClients:
    """The participants of a server with LiveKit's SDKs.

    Args:
        thread: The thread of their peer connections.
    """

    _admission: Admission
    _thread: PeerThread
    # By the SID of the participant
    _sessions: dict[str, _Session] = field(init=False, factory=dict[str, _Session])

    async def serve(
        self, websocket: MessageStream, claims: Claims, parameters: JoinParameters
    ) -> None:
        """Serve a client from its request to join until it has left, or one that resumes.

        Args:
            claims: The claims of the client's token.
            parameters: The parameters of its request.
        """
        if parameters.resumption is not None:
            await self._resume(websocket, claims, parameters.resumption)
            return
        limit = self._admission.limits.max_queue_bytes
        try:
            async with (
                open_webrtc_link(self._thread, max_queue_bytes=limit) as link,
                link.signalling_over(websocket),
            ):
                await self._serve_session(link, claims, parameters)
        except LinkClosedError as error:
            await websocket.aclose(str(error))

    async def _serve_session(
        self, link: WebRTCLink, claims: Claims, parameters: JoinParameters
    ) -> None:
        sids: list[str] = []

        def on_joined(room: ServerRoom, member: Member) -> None:
            sids.append(member.sid)
            self._sessions[member.sid] = _Session(link, room, member)

        subscriber_primary = not parameters.single_peer_connection
        link.start(
            subscriber_primary=subscriber_primary,
            consent_timeout=self._admission.limits.ping_timeout,
            offer=parameters.offer,
        )
        join = rtc.JoinResponse(subscriber_primary=subscriber_primary, fast_publish=True)
        opening = Opening(join, link.wait_open, on_joined)
        try:
            async with concurrency.open_service_nursery() as nursery:
                nursery.start_soon(link.read_signalling)
                await serve_member(self._admission, link, claims, parameters, opening)
        finally:
            for sid in sids:
                del self._sessions[sid]

    async def _resume(
        self, websocket: MessageStream, claims: Claims, resumption: Resumption
    ) -> None:
        session = self._sessions.get(resumption.sid)
        if session is None or not session.may_be_resumed_with(claims):
            # Its peer connections are gone: it joins again, with new ones.
            leave = leave_request(DisconnectReason.STATE_MISMATCH, joins_again=True)
            await websocket.send_message(rtc.SignalResponse(leave=leave).SerializeToString())
            await websocket.aclose("join again")
            return
        link, room, member = session.link, session.room, session.member
        logger.info("%s came back to room %r", member.sid, room.name)
        async with link.signalling_over(websocket):
            for frame in room.greeting(member, with_departures=True):
                link.send_nowait(frame)
            tokens = self._admission.refresher(claims, member)
            tokens.refresh(concurrency.current().current_time())
            await link.read_signalling()
