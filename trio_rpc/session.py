"""One stay in a room: from the server's `JoinResponse` until we leave or are let go.

The session owns the link once it is open, and the nursery of the participant, in which run

* the receive loop, which takes every frame in order and never waits for anybody,
* the ping loop, which keeps the connection alive and measures the round trip,
* a task for each invocation of a method.

`Session.leave` ends it from wherever it is called, at once for callers and events; the tasks then
end, handlers answer 1503, and the link is closed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc

from .calls import Calls
from .concurrency import CHANNEL_CLOSED, Backend, Nursery, SendChannel
from .data import DataPacket, DataPacketKind, SipDTMF, TranscriptionSegment
from .errors import SignalRequestError
from .events import (
    DataReceived,
    Disconnected,
    DisconnectReason,
    ParticipantDisconnected,
    RoomEvent,
    RoomMetadataChanged,
    SipDTMFReceived,
    TranscriptionReceived,
)
from .flood import FloodGate
from .limits import MAX_PACKET_BYTES
from .links import Channel, Frame, Link, LinkClosedError, LinkFullError
from .local_participant import LocalParticipant
from .methods import Invocations, MethodRegistry
from .packets import MalformedPacketError, parse_packet
from .participant import Participant
from .roster import Roster
from .sequences import SequenceFilter

logger = logging.getLogger(__name__)

#: Seconds that the server has to answer a request for other metadata, name or attributes.
REQUEST_TIMEOUT: Final = 10.0
#: Seconds between pings, and of silence that is borne, where the server announces none.
_DEFAULT_PING_INTERVAL: Final = 5.0
_DEFAULT_PING_TIMEOUT: Final = 15.0


class Session:
    """What one stay in a room consists of. See `Room.connect` for its life.

    Args:
        join: What the server said on joining.
        registry: The methods that we answer to.
        emit: Takes the events, in order.
    """

    def __init__(
        self,
        backend: Backend,
        link: Link,
        join: rtc.JoinResponse,
        registry: MethodRegistry,
        emit: Callable[[RoomEvent], None],
        *,
        max_round_trip_latency: float,
        max_concurrent_handlers: int,
    ) -> None:
        self._backend = backend
        self._link = link
        self._emit = emit
        # What the room is and who is in it
        self.room = join.room
        self.server_version = join.server_info.version or join.server_version
        self.local_participant = LocalParticipant(join.participant, registry, self)
        self.roster = Roster(self.local_participant)
        for info in join.other_participants:
            for _ in self.roster.apply(info):
                pass
        self.roster_changed = backend.event()
        # Calling and being called
        self.calls = Calls(backend, self, max_round_trip_latency)
        self.invocations = Invocations(backend, self, registry, max_concurrent_handlers)
        # Packets: ours are numbered, those of others come once
        self._last_sequence = 0
        self._stamp_bytes = _stamp_bytes(join.participant)
        self._sequences: dict[str, SequenceFilter] = {}
        self._flood_gate = FloodGate()
        # Requests to the server that wait for an answer
        self.changing = backend.semaphore(1)
        self._last_request_id = 0
        self._requests: dict[int, SendChannel] = {}
        # Liveness
        self._ping_interval = join.ping_interval or _DEFAULT_PING_INTERVAL
        self._ping_timeout = join.ping_timeout or _DEFAULT_PING_TIMEOUT
        self._last_heard = backend.current_time()
        self._ping_sent: tuple[int, float] = (0, 0.0)
        self.round_trip = 0.0
        # How it ends
        self._nursery: Nursery
        self._leaving = backend.event()
        self._closed = backend.event()
        self.disconnect_reason: DisconnectReason | None = None
        self._goodbye = ""

    def require_joined(self) -> None:
        """Refuse what makes sense in a room only.

        Raises:
            RuntimeError: we are not in the room any more.
        """
        if self.disconnect_reason is not None:
            raise RuntimeError(f"not in the room any more: {self._goodbye}")

    # Its life

    async def run(self, early_frames: list[Frame]) -> None:
        """Serve the room until we leave, and close the link.

        Args:
            early_frames: What came together with the server's `JoinResponse`.
        """
        try:
            async with self._backend.open_nursery() as self._nursery:
                self._nursery.start_soon(self._receive_loop, early_frames)
                self._nursery.start_soon(self._ping_loop)
                await self._leaving.wait()
                self._nursery.cancel_scope.cancel()
        finally:
            self.leave(DisconnectReason.CLIENT_INITIATED)
            try:
                await self._link.aclose(self._goodbye)
            finally:
                self._closed.set()

    def leave(self, reason: DisconnectReason, text: str = "we left the room") -> None:
        """Be out of the room from now on; only the first call counts.

        Args:
            reason: LiveKit's word for it.
            text: The same for people: what pending calls and the server are told.
        """
        if self.disconnect_reason is not None:
            return
        self.disconnect_reason = reason
        self._goodbye = text
        if reason is DisconnectReason.CLIENT_INITIATED:
            self._say_goodbye()
        self._leaving.set()
        self.calls.fail(text)
        for channel in self._requests.values():
            channel.close()
        self.announce_roster_change()
        self._emit(Disconnected(reason))

    async def wait_closed(self) -> None:
        """Wait until the link is closed and all tasks are gone."""
        await self._closed.wait()

    def _say_goodbye(self) -> None:
        request = rtc.LeaveRequest(reason=DisconnectReason.CLIENT_INITIATED.name)
        try:
            self._send_signal(rtc.SignalRequest(leave=request))
        except (LinkFullError, LinkClosedError) as error:
            logger.debug("left without saying so: %s", error)

    # Sending

    def send_nowait(self, packet: models.DataPacket) -> None:
        """Number a reliable packet and queue it (rule P6).

        Raises:
            LinkFullError: the queue is full; `wait_writable` tells when to try again.
            LinkClosedError: the connection is lost.
        """
        if packet.kind == models.DataPacket.RELIABLE:
            packet.sequence = self._last_sequence + 1
            self._link.send_nowait(Frame(Channel.RELIABLE, packet.SerializeToString()))
            self._last_sequence += 1
        else:
            self._link.send_nowait(Frame(Channel.LOSSY, packet.SerializeToString()))

    async def wait_writable(self) -> None:
        """Wait until it is worth trying again after a `LinkFullError`."""
        await self._link.wait_writable()

    async def send(self, packet: models.DataPacket) -> None:
        """Queue a packet, after waiting for room in the queue.

        Raises:
            ValueError: the packet is larger than a packet may be (P7).
            LinkClosedError: the connection is lost.
        """
        size = packet.ByteSize() + self._stamp_bytes
        if size > MAX_PACKET_BYTES:
            raise ValueError(
                f"it makes a packet of {size:,} bytes, over the limit of {MAX_PACKET_BYTES:,}"
            )
        while True:
            try:
                return self.send_nowait(packet)
            except LinkFullError:
                await self.wait_writable()

    async def update_metadata(self, update: rtc.UpdateParticipantMetadata) -> None:
        """Ask the server to change our metadata, name and attributes, and wait until it has.

        Raises:
            SignalRequestError: it refused, or did not answer.
        """
        self._last_request_id += 1
        request_id = update.request_id = self._last_request_id
        send_channel, receive_channel = self._backend.open_memory_channel(1)
        self._requests[request_id] = send_channel
        response: rtc.RequestResponse | None = None
        try:
            with self._backend.move_on_after(REQUEST_TIMEOUT):
                self._send_signal(rtc.SignalRequest(update_metadata=update))
                response = await receive_channel.receive()
        except (*CHANNEL_CLOSED, LinkClosedError, LinkFullError) as error:
            text = str(error) or self._goodbye
            raise SignalRequestError(f"not changed: {text}", reason="DISCONNECTED") from None
        finally:
            self._requests.pop(request_id, None)
            send_channel.close()
            receive_channel.close()
        if response is None:
            raise SignalRequestError(
                f"the server did not answer within {REQUEST_TIMEOUT:g} s", reason="TIMEOUT"
            )
        if response.reason != rtc.RequestResponse.OK:
            reason = _reason_name(response.reason)
            raise SignalRequestError(f"{reason}: {response.message}", reason=reason)

    def _send_signal(self, request: rtc.SignalRequest) -> None:
        self._link.send_nowait(Frame(Channel.SIGNAL, request.SerializeToString()))

    # Receiving

    async def _receive_loop(self, frames: list[Frame]) -> None:
        while True:
            self._on_frames(frames)
            frames = []
            try:
                frames = await self._link.receive()
            except LinkClosedError as error:
                self.leave(DisconnectReason.SIGNAL_CLOSE, f"the connection was lost: {error}")
                return
            except ValueError as error:
                self._on_malformed(str(error))

    def _on_frames(self, frames: list[Frame]) -> None:
        self._last_heard = self._backend.current_time()
        for channel, body in frames:
            if self.disconnect_reason is not None:
                return
            try:
                if channel is Channel.SIGNAL:
                    self._on_signal(rtc.SignalResponse.FromString(body))
                else:
                    self._on_packet(parse_packet(body), channel)
            except DecodeError:
                self._on_malformed(f"{len(body):,} bytes that are not a SignalResponse")
            except MalformedPacketError as error:
                self._on_malformed(str(error))

    def _on_malformed(self, what: str) -> None:
        logger.warning("ignored what the server sent: %s", what)
        if not self._flood_gate.admit(self._backend.current_time()):
            self.leave(
                DisconnectReason.STATE_MISMATCH,
                f"the server sent more than {self._flood_gate.limit} malformed messages",
            )

    def _on_packet(self, packet: models.DataPacket, channel: Channel) -> None:
        if packet.sequence:
            seen = self._sequences.setdefault(packet.participant_sid, SequenceFilter())
            if not seen.is_new(packet.sequence):
                logger.debug("ignored a packet of %s seen before", packet.participant_identity)
                return
        sender = packet.participant_identity
        match packet.WhichOneof("value"):
            case "rpc_request":
                self.invocations.start(self._nursery, sender, packet.rpc_request)
            case "rpc_ack":
                self.calls.on_ack(sender, packet.rpc_ack.request_id)
            case "rpc_response":
                self.calls.on_response(sender, packet.rpc_response)
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
                    self.round_trip = self._backend.current_time() - sent_at
            case "request_response":
                answer = response.request_response
                if channel := self._requests.pop(answer.request_id, None):
                    channel.send_nowait(answer)
                elif answer.reason != rtc.RequestResponse.OK:
                    reason = _reason_name(answer.reason)
                    logger.warning("the server refused: %s: %s", reason, answer.message)
            case "room_update":
                old, self.room = self.room, response.room_update.room
                if old.metadata != self.room.metadata:
                    self._emit(RoomMetadataChanged(old.metadata, self.room.metadata))
            case "leave":
                why = DisconnectReason(response.leave.reason)
                self.leave(why, f"the server ended our stay: {why.name}")
            case kind:
                logger.debug("ignored signalling of kind %s", kind)

    def _on_participant(self, info: models.ParticipantInfo) -> None:
        for event in self.roster.apply(info):
            if isinstance(event, ParticipantDisconnected):
                gone = event.participant
                self._sequences.pop(gone.sid, None)
                self.calls.fail(f"{gone.identity!r} left the room", gone.identity)
            self._emit(event)
        self.announce_roster_change()

    def announce_roster_change(self) -> None:
        """Wake whoever waits for somebody to be there."""
        self.roster_changed.set()
        self.roster_changed = self._backend.event()

    # Liveness

    async def _ping_loop(self) -> None:
        while True:
            now = self._backend.current_time()
            silent = now - self._last_heard
            if silent >= self._ping_timeout:
                self.leave(
                    DisconnectReason.CONNECTION_TIMEOUT,
                    f"the server was silent for {self._ping_timeout:g} s",
                )
                return
            self._ping_sent = time.time_ns() // 1_000_000, now
            ping = rtc.Ping(timestamp=self._ping_sent[0], rtt=int(self.round_trip * 1000))
            try:
                self._send_signal(rtc.SignalRequest(ping_req=ping))
            except LinkFullError:
                logger.debug("no ping: the queue of the link is full")
            except LinkClosedError:
                return
            await self._backend.sleep(min(self._ping_interval, self._ping_timeout - silent))


def _stamp_bytes(us: models.ParticipantInfo) -> int:
    """What our number and the server's stamps (P5) may add to a packet on its way."""
    stamped = models.DataPacket(
        participant_identity=us.identity,
        participant_sid=us.sid,
        sequence=2**32 - 1,
        user=models.UserPacket(participant_identity=us.identity, participant_sid=us.sid),
    )
    return stamped.ByteSize()


def _reason_name(reason: int) -> str:
    try:
        return rtc.RequestResponse.Reason.Name(reason)
    except ValueError:
        return f"reason {reason}"
