"""A link to one of LiveKit's servers.

    link ──SIGNAL──────────► signalling: one SignalRequest in a message of a WebSocket
      └────RELIABLE, LOSSY─► data channels

and back. The peer connection is the link: its WebSocket may be lost and opened again (L12). A link
that is lost can't be resumed by another, since the new one would have another peer connection.

A server of LiveKit's does not answer pings without a WebSocket. Towards the session, which pings,
the link answers for it as long as the peer connection lives.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc

from ... import concurrency
from ...concurrency import Backend
from ...errors import ConnectError, DisconnectReason
from ...protocol.logs import peer_logger
from ...protocol.retained import RetainedPackets
from ...webrtc.reports import Described
from ...webrtc.signal_stream import SignalStream
from ...webrtc.stream import PeerStream
from ...webrtc.thread import PeerThread
from ..base import Channel, Frame, Link, LinkClosedError, LinkFullError, MessageStream
from ..framed import CLOSE_TIMEOUT, FramedLink, open_framed_link
from ..leaving import leaving_on_failure
from .ice import IceServer, choose_ice_servers, own_addresses
from .joining import announcement
from .media import WebRTCMedia
from .shared_thread import shared_peer_thread
from .signalling import Membership, Signalling

if TYPE_CHECKING:
    from .peer import OfferingPeer

logger = peer_logger(__name__)

#: The same for the first of two attempts; the second is by a TURN server over TLS.
FIRST_OPEN_TIMEOUT: Final = 4.0
#: Seconds until the server's `JoinResponse`, and from then until data can be sent.
OPEN_TIMEOUT: Final = 8.0
#: Seconds by which LiveKit's server may announce a participant late: it does so every 3 seconds.
ROSTER_DELAY: Final = 3.5
#: The silence of a WebSocket, as part of the ping timeout that the server announces.
_HASTE: Final = 1 / 3
_DEFAULT_PING_TIMEOUT: Final = 15.0
#: The answer to a ping of the session that is only to show that the link lives.
_ALIVE: Final = rtc.SignalResponse(pong_resp=rtc.Pong()).SerializeToString()


class UnreachableError(ConnectError):
    """The server can't be reached in this way, and there is another."""


@asynccontextmanager
async def open_webrtc_link(
    websocket: MessageStream,
    membership: Membership,
    *,
    resumes: bool,
    uses_stun: bool,
    over_tls: bool,
) -> AsyncGenerator[Link]:
    """Open a link for the block, once its data channels are open; its end closes the WebSocket.

    Args:
        websocket: The WebSocket of the signalling, on which we have asked to join.
        membership: The membership that we have asked for.
        resumes: Whether another WebSocket resumes it.
        uses_stun, over_tls: See `choose_ice_servers`.

    Raises:
        ConnectError: the server rejected us, or can't be reached over WebRTC. It is an
            `UnreachableError` where that may be otherwise with `over_tls`.
    """
    backend = concurrency.current()
    async with shared_peer_thread() as thread, open_framed_link(SignalStream(websocket)) as signals:
        with leaving_on_failure(signals):
            first, *others = await _receive_first(backend, thread, signals)
        join = _join_in(first)
        stream = PeerStream(backend, thread, lambda described: _tell(signalling, described))
        async with open_framed_link(stream) as data, concurrency.open_service_nursery() as nursery:
            timeout = (join.ping_timeout or _DEFAULT_PING_TIMEOUT) * _HASTE
            resumable = membership if resumes else None
            signalling = Signalling(backend, nursery, stream, resumable, timeout)
            signalling.attach(signals)
            media = WebRTCMedia(stream)
            link = WebRTCLink(backend, signalling, data, stream, media)
            try:
                if join.HasField("participant"):
                    membership.sid = join.participant.sid
                    stream.put(_as_active(join))
                    usual = choose_ice_servers(join.ice_servers, uses_stun=uses_stun)
                    tls = choose_ice_servers(join.ice_servers, uses_stun=uses_stun, over_tls=True)
                    servers = tls if over_tls else usual
                    media.peer = _start(stream, join, membership.server.url, servers)
                    nursery.start_soon(signalling.run, signals, others)
                    with leaving_on_failure(link):
                        await link.wait_open(is_first=usual != tls and not over_tls)
                else:
                    # The session knows what it means.
                    stream.put(first)
                yield link
            finally:
                media.end()
                await link.aclose()


async def _receive_first(backend: Backend, thread: PeerThread, signals: FramedLink) -> list[Frame]:
    try:
        with backend.move_on_after(OPEN_TIMEOUT):
            await thread.start()
            return await signals.receive()
    except LinkClosedError as error:
        what = f"the server disconnected us before we had joined: {error}"
        raise ConnectError(what) from None
    raise ConnectError(f"the server did not answer within {OPEN_TIMEOUT:g} s")


def _join_in(frame: Frame) -> rtc.JoinResponse:
    """Return the server's response on joining; an empty one if it is something else."""
    with suppress(DecodeError):
        return rtc.SignalResponse.FromString(frame.body).join
    return rtc.JoinResponse()


def _as_active(join: rtc.JoinResponse) -> Frame:
    """Return the server's response, in which we are active: it tells nobody but the others."""
    join.participant.state = models.ParticipantInfo.ACTIVE
    return Frame(Channel.SIGNAL, rtc.SignalResponse(join=join).SerializeToString())


def _start(
    stream: PeerStream, join: rtc.JoinResponse, url: str, ice_servers: Sequence[IceServer]
) -> OfferingPeer:
    # Imported by now in the thread, which has been started.
    from .peer import OfferingPeer

    return stream.start(
        partial(
            OfferingPeer,
            has_subscriber=join.subscriber_primary,
            ice_servers=ice_servers,
            addresses=own_addresses(url),
        )
    )


def _tell(signalling: Signalling, described: Described) -> None:
    description = described.description
    if described.kind == "offer":
        request = rtc.SignalRequest(offer=description)
    else:
        request = rtc.SignalRequest(answer=description)
    signalling.send(request.SerializeToString())


class WebRTCLink:
    """The `Link` that `open_webrtc_link` opens."""

    can_resume = False
    roster_delay = ROSTER_DELAY

    def __init__(
        self,
        backend: Backend,
        signalling: Signalling,
        data: FramedLink,
        stream: PeerStream,
        media: WebRTCMedia,
    ) -> None:
        self._backend = backend
        self._signalling = signalling
        self._data = data
        self._stream = stream
        self.media = media
        self.retained: RetainedPackets | None = None
        # Sent once all data has arrived
        self._leave: bytes | None = None
        self._is_closing = False
        self._has_ended = False

    async def wait_open(self, *, is_first: bool) -> None:
        """Wait until packets reach the server, and be announced.

        Args:
            is_first: Whether there is another way to try afterwards.

        Raises:
            ConnectError: they never will; an `UnreachableError` if there is another way.
        """
        stream = self._stream
        timeout = FIRST_OPEN_TIMEOUT if is_first else OPEN_TIMEOUT
        with self._backend.move_on_after(timeout):
            while not stream.is_open:
                if self._signalling.leave is not None:
                    reason = DisconnectReason(self._signalling.leave.reason)
                    raise ConnectError(f"the server rejected us: {reason.name}")
                if stream.end_reason is not None:
                    raise ConnectError(f"no WebRTC connection to the server: {stream.end_reason}")
                await stream.wait_changed()
        if not stream.is_open:
            what = (
                f"no WebRTC connection to the server within {timeout:g} s: it did not answer, or "
                "its UDP is blocked"
            )
            raise UnreachableError(what) if is_first else ConnectError(what)
        self._signalling.send(announcement().SerializeToString())

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait to be sent, without those in flight."""
        return self._data.queued_bytes

    def send_nowait(self, frame: Frame, *, flush_follows: bool = False) -> None:
        channel, body = frame
        try:
            if channel is Channel.SIGNAL:
                self._send_signal(body)
            elif channel is not Channel.RECEIPT:
                self._data.send_nowait(frame, flush_follows=flush_follows)
        except LinkClosedError:
            # A session that may go on joins again, without what was sent.
            if self.retained is None:
                raise

    def _send_signal(self, body: bytes) -> None:
        match rtc.SignalRequest.FromString(body).WhichOneof("message"):
            case "leave":
                # Also once the peer connection has ended: the WebSocket may live on.
                self._leave = body
            case _ if self._stream.end_reason is not None:
                raise LinkClosedError(self._stream.end_reason)
            case "ping_req":
                with suppress(LinkFullError):
                    self._signalling.ping(body)
                self._stream.put(Frame(Channel.SIGNAL, _ALIVE))
            case _:
                self._signalling.send(body)

    def resend_nowait(self, frames: Iterable[Frame]) -> None:
        for frame in frames:
            if frame.channel is Channel.SIGNAL:
                self._send_signal(frame.body)
            else:
                self._data.resend_nowait([frame])

    def flush_nowait(self) -> None:
        self._data.flush_nowait()

    async def wait_writable(self) -> None:
        await self._data.wait_writable()

    async def wait_sent(self) -> None:
        await self._data.wait_sent()
        await self._signalling.wait_sent()

    async def receive(self) -> list[Frame]:
        try:
            return await self._data.receive()
        except LinkClosedError:
            if not self._has_ended:
                self._has_ended = True
                if (leave := await self._signalling.wait_leave()) is not None:
                    return [Frame(Channel.SIGNAL, leave)]
            raise

    def discard_queued(self) -> None:
        self._data.discard_queued()
        self._signalling.discard_queued()

    async def aclose(self, reason: str = "") -> None:
        """Let data arrive, leave, and end the link; its WebSocket is closed by its owner.

        The server closes everything as soon as it is told that we leave.
        """
        if self._is_closing:
            return
        self._is_closing = True
        if self._stream.is_open and self._stream.end_reason is None:
            with self._backend.move_on_after(CLOSE_TIMEOUT, shield=True):
                await self._data.wait_sent()
                await self._stream.wait_arrived()
        self._signalling.end()
        if self._leave is not None:
            with suppress(LinkFullError):
                self._signalling.send(self._leave)
        with self._backend.move_on_after(CLOSE_TIMEOUT, shield=True):
            await self._signalling.wait_sent()
        self._stream.end(reason or "the link was closed here")
        await self._data.aclose(reason)
