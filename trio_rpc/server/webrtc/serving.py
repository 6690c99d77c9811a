"""Serving a participant with one of LiveKit's SDKs."""

from __future__ import annotations

from livekit.protocol import rtc

from ...errors import DisconnectReason
from ...links import LinkClosedError, MessageStream
from ...tokens import Claims
from ...webrtc.thread import PeerThread
from ..admission import Admission
from ..join_request import JoinParameters
from ..rooms.member import leave_request
from ..session import Opening, serve_member
from .link import open_webrtc_link


async def serve_livekit_client(
    admission: Admission,
    thread: PeerThread,
    signalling: MessageStream,
    claims: Claims,
    parameters: JoinParameters,
) -> None:
    """Serve a client from its request to join until it has left.

    Args:
        thread: The thread of its peer connections.
        signalling: Its WebSocket.
        claims: The claims of its token.
        parameters: The parameters of its request.
    """
    if parameters.resumption is not None:
        # A resume keeps the peer connections, under new addresses, which aiortc can't. The client
        # joins again with new ones.
        leave = leave_request(DisconnectReason.STATE_MISMATCH, joins_again=True)
        await signalling.send_message(rtc.SignalResponse(leave=leave).SerializeToString())
        await signalling.aclose("join again")
        return
    subscriber_primary = not parameters.single_peer_connection
    join = rtc.JoinResponse(subscriber_primary=subscriber_primary, fast_publish=True)
    limits = admission.limits
    limit = limits.max_queue_bytes
    try:
        async with open_webrtc_link(signalling, thread, max_queue_bytes=limit) as link:
            link.start(
                subscriber_primary=subscriber_primary,
                consent_timeout=limits.ping_timeout,
                offer=parameters.offer,
            )
            opening = Opening(join, link.wait_open)
            await serve_member(admission, link, claims, parameters, opening)
    except LinkClosedError as error:
        await signalling.aclose(str(error))
