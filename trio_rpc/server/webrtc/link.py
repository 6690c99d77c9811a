"""The link of a participant with one of LiveKit's SDKs.

    link ──SIGNAL──────────► its WebSocket: one SignalResponse in a message
      └────RELIABLE, LOSSY─► its data channels

and back, where signalling about the peer connections is handled here. The WebSocket and the data
channels have a queue each, so that a client whose data channels are busy, or not open yet, still
receives pongs and close reasons.

Once the data channels are open, the link outlives its WebSocket: another one takes its place when
the client resumes. Signalling in between is dropped: a client that resumes gets the current state.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

from google.protobuf.message import DecodeError
from livekit.protocol import rtc

from ... import concurrency
from ...concurrency import Backend
from ...links import Channel, Frame, LinkClosedError, MessageStream, open_framed_link
from ...links.framed import FramedLink
from ...protocol.retained import RetainedPackets
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
    thread: PeerThread, *, max_queue_bytes: int
) -> AsyncGenerator[WebRTCLink]:
    """Open a participant's link for the block; its end closes WebSocket and data channels.

    Args:
        thread: The thread of the peer connections.
        max_queue_bytes: The most that may wait to be sent; of signalling, and of data.

    Raises:
        LinkClosedError: WebRTC is not available.
    """
    await thread.start()
    link = WebRTCLink(concurrency.current(), thread, max_queue_bytes)
    async with link.open():
        yield link


class WebRTCLink:
    """The `Link` that `open_webrtc_link` opens; it carries data once `start` was called."""

    #: LiveKit's Go SDK sends no pings: the transport notices that a client is gone (V9).
    notices_silence = True
    can_resume = False
    retained: RetainedPackets | None = None
    roster_delay = 0.0
    media = None

    def __init__(self, backend: Backend, thread: PeerThread, max_queue_bytes: int) -> None:
        self._max_queue_bytes = max_queue_bytes
        self._addresses = thread.addresses
        # None while there is no WebSocket
        self._signals: FramedLink | None = None
        self._data: FramedLink
        self._stream = PeerStream(backend, thread, self._tell)
        self._candidates = 0
        self._closing = False
        self._closed = backend.event()
        self.wait_open = self._stream.wait_open

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Open the link for the block."""
        async with open_framed_link(self._stream, max_queue_bytes=self._max_queue_bytes) as data:
            self._data = data
            try:
                yield
            finally:
                await self.aclose()

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

    @asynccontextmanager
    async def signalling_over(self, websocket: MessageStream) -> AsyncGenerator[None]:
        """Send signalling over a WebSocket for the block, and in place of an earlier one.

        Args:
            websocket: Carries one `SignalRequest` or `SignalResponse` in a message.
        """
        stream = SignalStream(websocket)
        async with (
            open_framed_link(stream, max_queue_bytes=self._max_queue_bytes) as signals,
            concurrency.open_service_nursery() as nursery,
        ):
            previous, self._signals = self._signals, signals
            if previous is not None:
                nursery.start_soon(previous.aclose, "another WebSocket has taken its place")
            try:
                yield
            finally:
                self._forget_signals(signals)

    def _forget_signals(self, signals: FramedLink) -> None:
        # The task that closes the link closes the WebSocket too.
        if self._signals is signals and not self._closing:
            self._signals = None

    def _tell(self, described: Described) -> None:
        description = described.description
        if described.kind == "answer":
            response = rtc.SignalResponse(answer=description)
        else:
            response = rtc.SignalResponse(offer=description)
        self._send_signal(Frame(Channel.SIGNAL, response.SerializeToString()))

    def _send_signal(self, frame: Frame) -> None:
        """Send signalling, unless the WebSocket is gone: a client that resumes gets the state."""
        if self._signals is not None:
            with suppress(LinkClosedError):
                self._signals.send_nowait(frame)

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait to be sent, without those in flight."""
        signals = 0 if self._signals is None else self._signals.queued_bytes
        return signals + self._data.queued_bytes

    def send_nowait(self, frame: Frame, *, flush_follows: bool = False) -> None:
        if frame.channel is Channel.SIGNAL:
            self._send_signal(frame)
        else:
            self._data.send_nowait(frame, flush_follows=flush_follows)

    def resend_nowait(self, frames: Iterable[Frame]) -> None:
        self._data.resend_nowait(frames)

    def flush_nowait(self) -> None:
        self._data.flush_nowait()

    def has_progressed(self) -> bool:
        # Both have to be asked: each remembers its answer.
        signals = self._signals is None or self._signals.has_progressed()
        return self._data.has_progressed() and signals

    async def wait_writable(self) -> None:
        if self._signals is None or self._data.queued_bytes:
            await self._data.wait_writable()
        else:
            await self._signals.wait_writable()

    async def wait_sent(self) -> None:
        # The client closes its data channels when it is asked to leave: they have to be empty.
        await self._data.wait_sent()
        while self._stream.untaken:
            await self._stream.wait_changed()
        if self._signals is not None:
            await self._signals.wait_sent()

    async def receive(self) -> list[Frame]:
        return await self._data.receive()

    def discard_queued(self) -> None:
        if self._signals is not None:
            self._signals.discard_queued()
        self._data.discard_queued()

    async def aclose(self, reason: str = "") -> None:
        if self._closing:
            return
        self._closing = True
        try:
            if not self._stream.is_open:
                # The queue would never be sent.
                self._stream.end(reason or "it was closed before it was open")
            await self._data.aclose(reason)
            if self._signals is not None:
                await self._signals.aclose(reason)
        finally:
            self._closed.set()

    async def read_signalling(self) -> None:
        """Handle signalling until the WebSocket ends, or another one takes its place.

        If the data channels are not open by then, the link ends with the WebSocket.
        """
        signals = self._signals
        assert signals is not None
        try:
            while True:
                for frame in await signals.receive():
                    self._on_signal(frame)
                while self._stream.unread >= _MAX_UNREAD:
                    await self._stream.wait_changed()
        except LinkClosedError as error:
            if self._signals is signals and not self._stream.is_open:
                self._stream.end(str(error))
        self._forget_signals(signals)
        if self._closing:
            await self._closed.wait()

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
