"""The link of a participant with one of LiveKit's SDKs.

    link ──SIGNAL──────────► its WebSocket: one SignalResponse in a message
      └────RELIABLE, LOSSY─► its data channels

and back, where signalling about the peer connections is handled here. The WebSocket and the data
channels have a queue each, so that a client whose data channels are busy, or not open yet, still
receives pongs and close reasons.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from google.protobuf.message import DecodeError
from livekit.protocol import rtc

from ... import concurrency
from ...links import Channel, Frame, LinkClosedError, MessageStream, open_framed_link
from ...links.framed import FramedLink
from ...webrtc.reports import Described
from ...webrtc.signal_stream import SignalStream
from ...webrtc.stream import PeerStream
from ...webrtc.thread import PeerThread

#: More ICE candidates than any client has. Further ones count as malformed (P8).
_MAX_CANDIDATES: Final = 200
#: The received but unread messages at which reading of the signalling stops.
_MAX_UNREAD: Final = 1_000


@asynccontextmanager
async def open_webrtc_link(
    signalling: MessageStream, thread: PeerThread, *, max_queue_bytes: int
) -> AsyncGenerator[WebRTCLink]:
    """Open a participant's link for the block; its end closes WebSocket and data channels.

    Args:
        signalling: The WebSocket, with one `SignalRequest` or `SignalResponse` in a message.
        thread: The thread of the peer connections.
        max_queue_bytes: The most that may wait to be sent; of signalling, and of data.

    Raises:
        LinkClosedError: WebRTC is not available.
    """
    await thread.start()
    async with open_framed_link(
        SignalStream(signalling), max_queue_bytes=max_queue_bytes
    ) as signals:

        def tell(described: Described) -> None:
            description = described.description
            if described.kind == "answer":
                response = rtc.SignalResponse(answer=description)
            else:
                response = rtc.SignalResponse(offer=description)
            signals.send_nowait(Frame(Channel.SIGNAL, response.SerializeToString()))

        stream = PeerStream(concurrency.current(), thread, tell)
        async with (
            open_framed_link(stream, max_queue_bytes=max_queue_bytes) as data,
            concurrency.open_service_nursery() as nursery,
        ):
            link = WebRTCLink(signals, data, stream, thread.addresses)
            nursery.start_soon(link.read_signalling)
            try:
                yield link
            finally:
                await link.aclose()


class WebRTCLink:
    """The `Link` that `open_webrtc_link` opens; it carries data once `start` was called."""

    #: LiveKit's Go SDK sends no pings: the transport notices that a client is gone (V9).
    notices_silence = True
    can_resume = False
    roster_delay = 0.0

    def __init__(
        self,
        signals: FramedLink,
        data: FramedLink,
        stream: PeerStream,
        addresses: Sequence[str],
    ) -> None:
        self._signals = signals
        self._data = data
        self._stream = stream
        self._addresses = addresses
        self._candidates = 0
        self.wait_open = stream.wait_open

    def start(
        self,
        *,
        subscriber_primary: bool,
        consent_timeout: float,
        offer: rtc.SessionDescription | None = None,
    ) -> None:
        """Begin to connect; called once, just before the client is sent its `JoinResponse`.

        Args:
            subscriber_primary: Whether we offer another connection, on which the client receives.
            consent_timeout: Seconds after which a client that is gone is noticed.
            offer: The client's own offer, if it came with the request to join.

        Raises:
            LinkClosedError: WebRTC is not available any more.
        """
        # Imported by now in the thread, which has been started.
        from .peer import AnsweringPeer

        self._stream.start(
            partial(
                AnsweringPeer,
                subscriber_primary=subscriber_primary,
                addresses=self._addresses,
                consent_timeout=consent_timeout,
            )
        )
        if offer is not None:
            self._stream.describe(rtc.SignalRequest(offer=offer))

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait to be sent, without those in flight."""
        return self._signals.queued_bytes + self._data.queued_bytes

    def send_nowait(self, frame: Frame) -> None:
        link = self._signals if frame.channel is Channel.SIGNAL else self._data
        link.send_nowait(frame)

    def resend_nowait(self, frames: Iterable[Frame]) -> None:
        self._data.resend_nowait(frames)

    def flush_nowait(self) -> None:
        self._data.flush_nowait()

    def has_progressed(self) -> bool:
        # Both have to be asked: each remembers its answer.
        return all([self._signals.has_progressed(), self._data.has_progressed()])

    async def wait_writable(self) -> None:
        await (self._data if self._data.queued_bytes else self._signals).wait_writable()

    async def wait_sent(self) -> None:
        # The client closes its data channels when it is asked to leave: they have to be empty.
        await self._data.wait_sent()
        while self._stream.untaken:
            await self._stream.wait_changed()
        await self._signals.wait_sent()

    async def receive(self) -> list[Frame]:
        return await self._data.receive()

    def discard_queued(self) -> None:
        self._signals.discard_queued()
        self._data.discard_queued()

    async def aclose(self, reason: str = "") -> None:
        if not self._stream.is_open:
            # The queue would never be sent.
            self._stream.end(reason or "it was closed before it was open")
        await self._data.aclose(reason)
        await self._signals.aclose(reason)

    async def read_signalling(self) -> None:
        """Handle signalling until the WebSocket ends, and end the link with it."""
        try:
            while True:
                for frame in await self._signals.receive():
                    self._on_signal(frame)
                while self._stream.unread >= _MAX_UNREAD:
                    await self._stream.wait_changed()
        except LinkClosedError as error:
            self._stream.end(str(error))

    def _on_signal(self, frame: Frame) -> None:
        try:
            request = rtc.SignalRequest.FromString(frame.body)
        except DecodeError:
            # The session handles malformed frames.
            return self._stream.put(frame)
        match request.WhichOneof("message"):
            case "offer" | "answer":
                self._stream.describe(request)
            case "trickle":
                # The client's addresses are not needed: see `sdp`.
                self._candidates += 1
                if self._candidates > _MAX_CANDIDATES:
                    text = f"more than {_MAX_CANDIDATES} addresses of its own (ICE candidates)"
                    self._stream.put(ValueError(text))
            case _:
                self._stream.put(frame)
        return None
