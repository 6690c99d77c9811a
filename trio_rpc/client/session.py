"""One session in a room: from the server's `JoinResponse` until we leave, or the room is lost.

A session is one membership, with one identity and SID. A connection carries it:

    | belongs to the session            | because                                              |
    |-----------------------------------|------------------------------------------------------|
    | calls, invocations                | their deadlines, and not a link's end, decide        |
    | streams, both ways                | they are counted per sender, in its order            |
    | sequences, both ways (P6)         | they tell what a link has lost and what it repeats   |
    | the roster, the room's metadata   | the others don't see a link                          |
    | requests to the server            | their answers are known by id                        |
    | the budget (B4)                   | what peers make us hold stays held                   |
    | the nursery                       | a handler runs on to its deadline                    |
    | the reason of the end             | of one that is over for good                         |

    | belongs to the connection         | because                                              |
    |-----------------------------------|------------------------------------------------------|
    | the link and its queue            | bytes in it are lost with it                         |
    | the receive loop                  | it ends with the link                                |
    | the count of malformed messages   | a server is judged by what it sends now              |
    | pings, the time of the last frame | they tell whether this link is alive                 |
    | the round trip                    | it is this path's                                    |

The session decides what the end of its connection means (`on_connection_end`). Today that is the
loss of the room.

In its nursery run the tasks of the connection, and one for each invocation of a method. When we
leave or the room is lost, the session is over at once for callers and events; the tasks then end,
handlers answer 1503, and the connection is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from livekit.protocol import models, rtc

from ..concurrency import Backend, Nursery
from ..errors import DisconnectedError, DisconnectReason
from ..events import Disconnected, ParticipantDisconnected, RoomEvent, RoomMetadataChanged
from ..links import Channel, Frame, Link, LinkClosedError, LinkFullError
from ..logs import peer_logger
from ..protocol.budgets import Budget
from ..protocol.limits import SessionLimits
from ..protocol.sequences import SequenceFilters
from ..rpc.endpoint import RpcEndpoint
from ..rpc.invocations import Invocations
from ..rpc.methods import MethodRegistry
from ..streams.buffer import BufferContext
from .connection import Connection, PingTimes
from .data_events import data_event
from .local_participant import LocalParticipant
from .outbound import Outbound
from .roster import Roster
from .stream_handlers import RunHandler, StreamHandlers

logger = peer_logger(__name__)


class Session:
    """One membership in a room, for the block of `Room.connect`.

    Args:
        join: The server's response on joining.
        registry: The methods that we answer to.
        emit: Takes the events, in order.
        on_lost: Called first of all when the room is lost.
        sequences: The filter of packets that are sent again, also after earlier sessions (P6).
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
        self._connection = Connection(backend, link, self, PingTimes.of(join))
        self._emit = emit
        self._on_lost = on_lost
        self.budget = budget
        context = BufferContext(backend, budget, limits.max_stream_bytes)
        self.outbound = Outbound(link, join, limits, context)
        # The room and its participants
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
        # The end
        self._nursery: Nursery
        self._leaving = backend.event()
        self._closed = backend.event()

    # Life cycle

    async def run(self, early_frames: list[Frame]) -> None:
        """Serve the room until we leave, and close the link.

        Args:
            early_frames: The frames that came together with the server's `JoinResponse`.
        """
        try:
            async with self._backend.open_nursery() as self._nursery:
                self.invocations.run_in(self._nursery)
                self._nursery.start_soon(self._connection.serve, early_frames)
                await self._leaving.wait()
                self._nursery.cancel_scope.cancel()
        finally:
            self.leave()
            if self.disconnect_reason is DisconnectReason.CLIENT_INITIATED:
                # After the final responses of our handlers: the server ignores what follows.
                self._send_leave()
            try:
                await self._connection.aclose(str(self.outbound.disconnection))
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

    def on_connection_end(self, reason: DisconnectReason, text: str) -> None:
        """Record that the room is lost, if we are still in it.

        Args:
            reason: LiveKit's name of the reason.
            text: The reason for people, in the errors of calls and as the close reason.
        """
        if self.outbound.disconnection is None:
            loss = DisconnectedError(reason, text)
            # First of all: tasks that wait in the block are cancelled, and do not fail before that.
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

    def _send_leave(self) -> None:
        request = rtc.LeaveRequest(reason=DisconnectReason.CLIENT_INITIATED.name)
        try:
            self.outbound.packet_sender.send_signal(rtc.SignalRequest(leave=request))
        except (LinkFullError, LinkClosedError) as error:
            logger.debug("left without a LeaveRequest: %s", error)

    # For the connection: `ConnectedSession`

    def on_packet(self, packet: models.DataPacket, channel: Channel) -> None:
        """Handle a packet, unless it has come before or the session is over."""
        if self.outbound.disconnection is not None:
            return
        sender = packet.participant_identity
        if packet.sequence and not self._sequences.is_new(packet.participant_sid, packet.sequence):
            logger.debug("ignored a packet of %s seen before", sender)
        elif self.rpc.handle(sender, packet):
            pass
        elif (event := data_event(packet, channel, self.roster)) is not None:
            self._emit(event)
        else:
            logger.debug("ignored a packet of kind %s of %s", packet.WhichOneof("value"), sender)

    def on_signal(self, response: rtc.SignalResponse) -> None:
        """Handle a signalling message, unless the session is over."""
        if self.outbound.disconnection is not None:
            return
        match response.WhichOneof("message"):
            case "update":
                for info in response.update.participants:
                    self._on_participant(info)
            case "request_response":
                self.outbound.server_requests.on_response(response.request_response)
            case "room_update":
                old, self.room = self.room, response.room_update.room
                if old.metadata != self.room.metadata:
                    self._emit(RoomMetadataChanged(old.metadata, self.room.metadata))
            case kind:
                logger.debug("ignored signalling of kind %s", kind)

    def on_ping(self) -> None:
        """Drop silent streams and expired ids."""
        self.rpc.expire()

    def on_round_trip(self, seconds: float) -> None:
        """Use a new round trip for the timeouts of calls."""
        self.outbound.packet_sender.round_trip = seconds

    def _on_participant(self, info: models.ParticipantInfo) -> None:
        for event in self.roster.apply(info):
            if isinstance(event, ParticipantDisconnected):
                self.rpc.on_participant_left(event.participant.identity)
            self._emit(event)
        self.announce_roster_change()

    def announce_roster_change(self) -> None:
        """Wake the tasks that wait for a participant."""
        self.roster_changed.set()
        self.roster_changed = self._backend.event()
