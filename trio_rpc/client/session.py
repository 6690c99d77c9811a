"""One session in a room: from the server's `JoinResponse` until we leave or are let go.

The session owns the link once it is open, and the nursery of the participant, in which run

* the receive loop, which takes every frame in order and never waits for anybody,
* the ping loop, which keeps the connection alive and measures the round trip,
* a task for each invocation of a method.

When we leave or the room is lost, the session is over at once for callers and events; the tasks
then end, handlers answer 1503, and the link is closed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc

from ..concurrency import Backend, Nursery
from ..data import DataPacket, DataPacketKind, SipDTMF, TranscriptionSegment
from ..errors import DisconnectedError, DisconnectReason
from ..events import (
    DataReceived,
    Disconnected,
    ParticipantDisconnected,
    RoomEvent,
    RoomMetadataChanged,
    SipDTMFReceived,
    TranscriptionReceived,
)
from ..links import Channel, Frame, Link, LinkClosedError, LinkFullError
from ..logs import peer_logger
from ..participant import Participant
from ..protocol.budgets import Budget
from ..protocol.limits import SessionLimits
from ..protocol.malformed import MalformedLimiter
from ..protocol.packets import MalformedPacketError, parse_packet
from ..protocol.sequences import SequenceFilters
from ..rpc.endpoint import RpcEndpoint
from ..rpc.invocations import Invocations
from ..rpc.methods import MethodRegistry
from ..streams.buffer import BufferContext
from .local_participant import LocalParticipant
from .outbound import Outbound
from .roster import Roster
from .stream_handlers import RunHandler, StreamHandlers

logger = peer_logger(__name__)

#: Seconds between pings, and of silence that is borne, where the server announces none.
_DEFAULT_PING_INTERVAL: Final = 5.0
_DEFAULT_PING_TIMEOUT: Final = 15.0


class Session:
    """One membership in a room. See `Room.connect` for its life.

    Args:
        join: What the server said on joining.
        registry: The methods that we answer to.
        emit: Takes the events, in order.
        on_lost: Called first of all when the room is lost.
        sequences: The packets that have come already, in earlier sessions too (P6).
        budget: Counts the bytes that peers make us hold (B4).
    """

    def __init__(
        self,
        backend: Backend,
        link: Link,
        join: rtc.JoinResponse,
        registry: MethodRegistry,
        emit: Callable[[RoomEvent], None],
        on_lost: Callable[[DisconnectedError], None],
        run_stream_handler: RunHandler,
        *,
        stream_handlers: StreamHandlers,
        sequences: SequenceFilters,
        limits: SessionLimits,
        budget: Budget,
    ) -> None:
        self._backend = backend
        self._link = link
        self._emit = emit
        self._on_lost = on_lost
        self.budget = budget
        context = BufferContext(backend, budget, limits.max_stream_bytes)
        self.outbound = Outbound(link, join, limits, context)
        # The room and who is in it
        self.room = join.room
        self.local_participant = LocalParticipant(join.participant, registry, self.outbound)
        self.roster = Roster(
            self.local_participant,
            self.outbound.remote_participants,
            self.local_participant.perform_rpc,
        )
        for info in join.other_participants:
            for _ in self.roster.apply(info):
                pass
        self.roster_changed = backend.event()
        # Its receiving half
        self.calls = self.outbound.calls
        self.invocations = Invocations(
            self.outbound.packet_sender, self.outbound.streams, registry, limits, context
        )
        self.rpc = RpcEndpoint(
            context,
            self.calls,
            self.invocations,
            partial(stream_handlers.open_buffer, context, run_stream_handler),
            max_peer_streams=limits.max_peer_streams,
            max_streams=limits.max_streams,
        )
        self._sequences = sequences
        self._malformed_limiter = MalformedLimiter()
        # Liveness
        self._ping_interval = join.ping_interval or _DEFAULT_PING_INTERVAL
        self._ping_timeout = join.ping_timeout or _DEFAULT_PING_TIMEOUT
        self._last_received = backend.current_time()
        self._ping_sent: tuple[int, float] = (0, 0.0)
        # How it ends
        self._nursery: Nursery
        self._leaving = backend.event()
        self._closed = backend.event()

    # Its life

    async def run(self, early_frames: list[Frame]) -> None:
        """Serve the room until we leave, and close the link.

        Args:
            early_frames: What came together with the server's `JoinResponse`.
        """
        try:
            async with self._backend.open_nursery() as self._nursery:
                self.invocations.run_in(self._nursery)
                self._nursery.start_soon(self._receive_loop, early_frames)
                self._nursery.start_soon(self._ping_loop)
                await self._leaving.wait()
                self._nursery.cancel_scope.cancel()
        finally:
            self.leave()
            if self.disconnect_reason is DisconnectReason.CLIENT_INITIATED:
                # After the last words of our handlers: the server listens to nothing that follows.
                self._say_goodbye()
            try:
                await self._link.aclose(str(self.outbound.disconnection))
            finally:
                self._closed.set()

    @property
    def disconnect_reason(self) -> DisconnectReason | None:
        """The reason why the session is over; None while it is not."""
        disconnection = self.outbound.disconnection
        return None if disconnection is None else disconnection.reason

    def leave(self) -> None:
        """Leave the room, if we are still in it."""
        if self.outbound.disconnection is None:
            reason = DisconnectReason.CLIENT_INITIATED
            self._end(DisconnectedError(reason, "we left the room"))

    def _lose(self, reason: DisconnectReason, text: str) -> None:
        """Record that the room is lost, if we are still in it.

        Args:
            reason: LiveKit's name of the reason.
            text: The reason for people: for those whose calls fail, and for the server.
        """
        if self.outbound.disconnection is None:
            loss = DisconnectedError(reason, text)
            # First of all: what waits in the block is cancelled, and does not fail before that.
            self._on_lost(loss)
            self._end(loss)

    def _end(self, disconnection: DisconnectedError) -> None:
        self._leaving.set()
        self.outbound.end(disconnection)
        self.rpc.end(str(disconnection), disconnection)
        self.announce_roster_change()
        self._emit(Disconnected(disconnection.reason))

    async def wait_closed(self) -> None:
        """Wait until the link is closed and all tasks are gone."""
        await self._closed.wait()

    def _say_goodbye(self) -> None:
        request = rtc.LeaveRequest(reason=DisconnectReason.CLIENT_INITIATED.name)
        try:
            self.outbound.packet_sender.send_signal(rtc.SignalRequest(leave=request))
        except (LinkFullError, LinkClosedError) as error:
            logger.debug("left without saying so: %s", error)

    # Receiving

    async def _receive_loop(self, frames: list[Frame]) -> None:
        while True:
            self._on_frames(frames)
            frames = []
            try:
                frames = await self._link.receive()
            except LinkClosedError as error:
                self._lose(DisconnectReason.SIGNAL_CLOSE, f"the connection was lost: {error}")
                return
            except ValueError as error:
                self._on_malformed(str(error))

    def _on_frames(self, frames: list[Frame]) -> None:
        self._last_received = self._backend.current_time()
        for channel, body in frames:
            if self.outbound.disconnection is not None:
                return
            try:
                if channel is Channel.SIGNAL:
                    self._on_signal(rtc.SignalResponse.FromString(body))
                else:
                    self._on_packet(parse_packet(body), channel)
            except DecodeError:
                self._on_malformed(f"{len(body):,} bytes that are not a SignalResponse")
            except MalformedPacketError as error:
                if error.sender:
                    # The server vouches for whose it is: the harm ends with that participant.
                    logger.debug("ignored a packet of %s: %s", error.sender, error)
                else:
                    self._on_malformed(str(error))
            except Exception:
                # A failure of ours, or of a callback: it concerns this frame alone (B3).
                logger.exception("handling what the server sent failed")

    def _on_malformed(self, what: str) -> None:
        logger.warning("ignored what the server sent: %s", what)
        if not self._malformed_limiter.allow(self._backend.current_time()):
            self._lose(
                DisconnectReason.STATE_MISMATCH,
                f"the server sent more than {self._malformed_limiter.limit} malformed messages",
            )

    def _on_packet(self, packet: models.DataPacket, channel: Channel) -> None:
        if packet.sequence and not self._sequences.is_new(packet.participant_sid, packet.sequence):
            logger.debug("ignored a packet of %s seen before", packet.participant_identity)
            return
        sender = packet.participant_identity
        if self.rpc.handle(sender, packet):
            return
        match packet.WhichOneof("value"):
            case "user":
                self._emit(DataReceived(self._data_packet(packet, channel)))
            case "sip_dtmf":
                dtmf = packet.sip_dtmf
                participant = self.roster.remote.get(sender)
                self._emit(SipDTMFReceived(SipDTMF(dtmf.code, dtmf.digit, participant)))
            case "transcription":
                self._on_transcription(packet.transcription)
            case kind:
                logger.debug("ignored a packet of kind %s of %s", kind, sender)

    def _data_packet(self, packet: models.DataPacket, channel: Channel) -> DataPacket:
        user = packet.user
        return DataPacket(
            data=user.payload,
            kind=DataPacketKind.KIND_LOSSY
            if channel is Channel.LOSSY
            else DataPacketKind.KIND_RELIABLE,
            participant=self.roster.remote.get(packet.participant_identity),
            topic=user.topic if user.HasField("topic") else None,
        )

    def _on_transcription(self, transcription: models.Transcription) -> None:
        identity = transcription.transcribed_participant_identity
        participant: Participant | None = self.roster.remote.get(identity)
        if identity == self.local_participant.identity:
            participant = self.local_participant
        segments = [
            TranscriptionSegment(
                id=segment.id,
                text=segment.text,
                start_time=segment.start_time,
                end_time=segment.end_time,
                language=segment.language,
                final=segment.final,
            )
            for segment in transcription.segments
        ]
        self._emit(TranscriptionReceived(segments, participant))

    def _on_signal(self, response: rtc.SignalResponse) -> None:
        match response.WhichOneof("message"):
            case "update":
                for info in response.update.participants:
                    self._on_participant(info)
            case "pong_resp":
                timestamp, sent_at = self._ping_sent
                if response.pong_resp.last_ping_timestamp == timestamp:
                    self.outbound.packet_sender.round_trip = self._backend.current_time() - sent_at
            case "request_response":
                self.outbound.server_requests.on_response(response.request_response)
            case "room_update":
                old, self.room = self.room, response.room_update.room
                if old.metadata != self.room.metadata:
                    self._emit(RoomMetadataChanged(old.metadata, self.room.metadata))
            case "leave":
                why = DisconnectReason(response.leave.reason)
                self._lose(why, f"the server ended our stay: {why.name}")
            case kind:
                logger.debug("ignored signalling of kind %s", kind)

    def _on_participant(self, info: models.ParticipantInfo) -> None:
        for event in self.roster.apply(info):
            if isinstance(event, ParticipantDisconnected):
                self.rpc.on_participant_left(event.participant.identity)
            self._emit(event)
        self.announce_roster_change()

    def announce_roster_change(self) -> None:
        """Wake whoever waits for somebody to be there."""
        self.roster_changed.set()
        self.roster_changed = self._backend.event()

    # Liveness

    async def _ping_loop(self) -> None:
        packet_sender = self.outbound.packet_sender
        while True:
            now = self._backend.current_time()
            # A moment, since the rest of a duration may be too short for the clock to advance by.
            gone_at = self._last_received + self._ping_timeout
            if now >= gone_at:
                self._lose(
                    DisconnectReason.CONNECTION_TIMEOUT,
                    f"the server was silent for {self._ping_timeout:g} s",
                )
                return
            self.rpc.expire()
            self._ping_sent = time.time_ns() // 1_000_000, now
            ping = rtc.Ping(timestamp=self._ping_sent[0], rtt=int(packet_sender.round_trip * 1000))
            try:
                packet_sender.send_signal(rtc.SignalRequest(ping_req=ping))
            except LinkFullError:
                logger.debug("no ping: the queue of the link is full")
            except LinkClosedError:
                return
            await self._backend.sleep(min(self._ping_interval, gone_at - now))
