"""A connection of a session: one link to the server, received from and kept alive.

Two tasks serve it: the receive loop, which handles every frame in order and never waits for a
handler, and the ping loop. They call the session directly, in their own task, for each message,
each round trip, and the end of the connection. `session` lists what belongs to which of the two.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Final, Protocol

from attrs import evolve, frozen
from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc

from ..concurrency import Backend
from ..errors import DisconnectReason
from ..links import Channel, Frame, Link, LinkClosedError, LinkFullError, SignallingLostError
from ..links.media import MediaLink
from ..protocol.logs import peer_logger
from ..protocol.malformed import MalformedLimiter
from ..protocol.packets import MalformedPacketError, parse_packet
from ..protocol.receipts import InvalidReceiptError, Receipts, read_receipt
from .reconnecting import Ending

logger = peer_logger(__name__)

#: Seconds between pings, and of silence until the timeout, where the server announces none.
_DEFAULT_PING_INTERVAL: Final = 5.0
_DEFAULT_PING_TIMEOUT: Final = 15.0
#: The part of that timeout after which a session that can resume tries another connection, and the
#: part of the rest between its pings. A call waits 7 s for its acknowledgement (C2), and a link
#: that is half-open has to be noticed before; a connection too many loses nothing.
_HASTE: Final = 1 / 3
_PINGS_BEFORE: Final = 2.5
_ENDINGS: Final = {
    rtc.LeaveRequest.RESUME: Ending.LOST,
    rtc.LeaveRequest.RECONNECT: Ending.RECONNECT,
}


@frozen
class PingTimes:
    """The times of pings on a connection.

    Attributes:
        interval: Seconds between pings.
        timeout: Seconds of silence after which the connection counts as lost.
        max_timeout: The longest such timeout.
    """

    interval: float
    timeout: float
    max_timeout: float

    @classmethod
    def of(cls, join: rtc.JoinResponse, *, resumes: bool) -> PingTimes:
        """Return the times for a session.

        Args:
            join: The server's response, which announces times; there are defaults.
            resumes: Whether the session may go on over another connection.
        """
        interval = join.ping_interval or _DEFAULT_PING_INTERVAL
        max_timeout = join.ping_timeout or _DEFAULT_PING_TIMEOUT
        if not resumes:
            return cls(interval, max_timeout, max_timeout)
        timeout = max_timeout * _HASTE
        return cls(min(interval, timeout / _PINGS_BEFORE), timeout, max_timeout)

    def more_patient(self) -> PingTimes:
        """Return the times for a path that may be slow, and not broken."""
        return evolve(self, timeout=min(2 * self.timeout, self.max_timeout))


class ConnectedSession(Protocol):
    """A session, as its connection sees it."""

    def on_signal(self, response: rtc.SignalResponse) -> None:
        """Handle a signalling message that is not about the connection itself."""
        ...

    def on_packet(self, packet: models.DataPacket, kind: str, channel: Channel) -> None:
        """Handle a packet of a kind, which is within its bounds."""
        ...

    async def serve_media(self, media: MediaLink) -> None:
        """Follow the tracks that come in, until this is cancelled."""
        ...

    def on_ping(self) -> None:
        """Do periodic work, before each ping."""
        ...

    def on_round_trip(self, seconds: float) -> None:
        """Record the time to the server and back."""
        ...

    def on_receipt(self, count: int) -> None:
        """Record the number of packets that have arrived over this connection (L5).

        Raises:
            InvalidReceiptError: the number is larger than that of the packets sent.
        """
        ...

    def on_signalling_lost(self) -> None:
        """Record that signalling is lost, and packets are not (L12)."""
        ...

    def on_connection_end(self, end: ConnectionEnd) -> None:
        """Go on without a connection, or end the session."""
        ...


@frozen
class ConnectionEnd:
    """The end of a connection.

    Attributes:
        ending: The way it ended, which decides the next step (L2).
        reason: LiveKit's name of the reason.
        text: The reason for people.
    """

    ending: Ending
    reason: DisconnectReason
    text: str


class Connection:
    """One connection of a session.

    Args:
        link: The link, which is open; the connection owns it from here on.
        session: The session that handles messages and events of the connection.
        ping_times: The times of pings and of the timeout.
        sends_receipts: Whether to acknowledge packets to the server (L5).

    Attributes:
        has_answered: Whether the server has answered a ping over this connection.
    """

    def __init__(
        self,
        backend: Backend,
        link: Link,
        session: ConnectedSession,
        ping_times: PingTimes,
        *,
        sends_receipts: bool,
    ) -> None:
        self._backend = backend
        self._link = link
        self._session = session
        self._malformed_limiter = MalformedLimiter()
        self._receipts = Receipts() if sends_receipts else None
        self._serving = backend.cancel_scope()
        self._ended = False
        # Liveness
        self._ping_times = ping_times
        self._last_received = backend.current_time()
        self._ping_sent: tuple[int, float] = (0, 0.0)
        self._round_trip = 0.0
        self.has_answered = False

    async def serve(self, early_frames: list[Frame]) -> None:
        """Receive and ping until the connection ends, without closing it.

        Args:
            early_frames: The frames that came together with the server's `JoinResponse`.
        """
        with self._serving:
            async with self._backend.open_nursery() as nursery:
                nursery.start_soon(self._ping_loop)
                if self._link.media is not None:
                    nursery.start_soon(self._session.serve_media, self._link.media)
                await self._receive_loop(early_frames)

    async def aclose(self, reason: str) -> None:
        """Send what is queued, and close the link.

        Args:
            reason: The close reason for the server.
        """
        await self._link.aclose(reason)

    async def abandon(self) -> None:
        """Close the link without sending what is queued."""
        self._link.discard_queued()
        await self._link.aclose()

    def interrupt(self, ending: Ending) -> None:
        """End the connection as if it had failed, to try out what happens then.

        Args:
            ending: The way in which it ends.
        """
        if not self._ended:
            self._end(ending, DisconnectReason.SIGNAL_CLOSE, "a failure was simulated")

    def _end(self, ending: Ending, reason: DisconnectReason, text: str) -> None:
        self._ended = True
        self._serving.cancel()
        if ending is Ending.LOST and not self._link.can_resume:
            ending = Ending.LOST_FOR_GOOD
        self._session.on_connection_end(ConnectionEnd(ending, reason, text))

    # Receiving

    async def _receive_loop(self, frames: list[Frame]) -> None:
        while True:
            self._on_frames(frames)
            frames = []
            try:
                frames = await self._link.receive()
            except LinkClosedError as error:
                why = f"the connection was lost: {error}"
                self._end(Ending.LOST, DisconnectReason.SIGNAL_CLOSE, why)
                return
            except SignallingLostError:
                self._session.on_signalling_lost()
            except ValueError as error:
                self._on_malformed(str(error))

    def _on_frames(self, frames: list[Frame]) -> None:
        self._last_received = self._backend.current_time()
        packets = packet_bytes = 0
        for channel, body in frames:
            if self._ended:
                return
            if channel is Channel.RELIABLE:
                packets += 1
                packet_bytes += len(body)
            try:
                if channel is Channel.SIGNAL:
                    self._on_signal(rtc.SignalResponse.FromString(body))
                elif channel is Channel.RECEIPT:
                    self._session.on_receipt(read_receipt(body))
                else:
                    self._session.on_packet(*parse_packet(body), channel)
            except DecodeError:
                self._on_malformed(f"{len(body):,} bytes that are not a SignalResponse")
            except MalformedPacketError as error:
                if error.sender:
                    # The server vouches for the sender: its malformed packets are not the server's.
                    logger.debug("ignored a packet of %s: %s", error.sender, error)
                else:
                    self._on_malformed(str(error))
            except InvalidReceiptError as error:
                self._on_malformed(str(error))
            except Exception:
                # A failure of ours, or of a callback: it affects this frame alone (B3).
                logger.exception("handling what the server sent failed")
        if packets and self._receipts is not None and self._receipts.add(packets, packet_bytes):
            with suppress(LinkFullError, LinkClosedError):
                self._send_receipt()

    def _on_signal(self, response: rtc.SignalResponse) -> None:
        match response.WhichOneof("message"):
            case "pong_resp":
                timestamp, sent_at = self._ping_sent
                if response.pong_resp.last_ping_timestamp == timestamp:
                    self.has_answered = True
                    self._round_trip = self._backend.current_time() - sent_at
                    self._session.on_round_trip(self._round_trip)
            case "leave":
                reason = DisconnectReason(response.leave.reason)
                ending = _ENDINGS.get(response.leave.action, Ending.FINAL)
                self._end(ending, reason, f"the server ended our session: {reason.name}")
            case _:
                self._session.on_signal(response)

    def _send_receipt(self) -> None:
        if self._receipts is not None and (receipt := self._receipts.take()) is not None:
            self._link.send_nowait(Frame(Channel.RECEIPT, receipt))

    def _on_malformed(self, what: str) -> None:
        logger.warning("ignored what the server sent: %s", what)
        if not self._malformed_limiter.allow(self._backend.current_time()):
            self._end(
                Ending.FINAL,
                DisconnectReason.STATE_MISMATCH,
                f"the server sent more than {self._malformed_limiter.limit} malformed messages",
            )

    # Liveness

    async def _ping_loop(self) -> None:
        interval, timeout = self._ping_times.interval, self._ping_times.timeout
        while True:
            now = self._backend.current_time()
            # As a point in time: a remaining duration may be too short for the clock to advance.
            gone_at = self._last_received + timeout
            if now >= gone_at:
                why = f"the server was silent for {timeout:g} s"
                self._end(Ending.LOST, DisconnectReason.CONNECTION_TIMEOUT, why)
                return
            self._session.on_ping()
            self._ping_sent = time.time_ns() // 1_000_000, now
            ping = rtc.Ping(timestamp=self._ping_sent[0], rtt=int(self._round_trip * 1000))
            request = rtc.SignalRequest(ping_req=ping)
            try:
                self._link.send_nowait(Frame(Channel.SIGNAL, request.SerializeToString()))
                self._send_receipt()
            except LinkFullError:
                logger.debug("no ping: the queue of the link is full")
            except LinkClosedError:
                return
            await self._sleep(min(interval, gone_at - now))

    async def _sleep(self, seconds: float) -> None:
        """Sleep; the time by which we wake too late is no silence of the server."""
        wake_at = self._backend.current_time() + seconds
        await self._backend.sleep(seconds)
        now = self._backend.current_time()
        self._last_received = min(self._last_received + max(now - wake_at, 0.0), now)
