"""One session in a room: from the server's `JoinResponse` until we leave, or the room is lost.

A session is one membership, with one identity and SID. A connection carries it:

    | belongs to the session            | because                                              |
    |-----------------------------------|------------------------------------------------------|
    | calls, invocations                | they end at their deadlines, not with a link         |
    | streams, both ways                | their order is that of the sender, over all links    |
    | sequences, both ways (P6)         | they show which packets were lost or repeated        |
    | the roster, the room's metadata   | other participants do not notice a change of link    |
    | requests to the server            | responses are matched by id                          |
    | the budget (B4)                   | memory stays held when a link ends                   |
    | the nursery                       | handlers run on until their deadlines                |
    | the disconnect reason             | it is that of the membership                         |

    | belongs to the connection         | because                                              |
    |-----------------------------------|------------------------------------------------------|
    | the link and its queue            | what is in flight is lost with the link              |
    | the receive loop                  | it ends with the link                                |
    | the count of malformed messages   | it limits the rate at which this link delivers them  |
    | pings, the time of the last frame | they show whether this link is alive                 |
    | the round trip                    | it is that of this path                              |

When its connection is lost, the session goes on without one, until the `Supervisor` resumes it over
another (rules L1 to L6), rejoins, or gives up. Any other end of the connection is the loss of the
room.

To rejoin is to begin another session on the server, with another SID. Here it is the same object:

    | outlives a rejoin                 | ends or begins again                                 |
    |-----------------------------------|------------------------------------------------------|
    | methods, listeners, the nursery   | our SID                                              |
    | handlers, and kept outcomes (L7)  | streams, both ways                                   |
    | calls, which are sent again (L8)  | our own sequence, and what is retained               |
    | requests to the server            | responses of handlers, which are asked for again     |
    | our changes of our description    | our description, in which they are made again        |
    | our tracks, published again       | the SIDs of their publications                       |
    | the filters of sequences          | the roster, which is reconciled by identity          |

The session's nursery runs the tasks of its connections, and one for each invocation of a method.
When we leave or the room is lost, the session is over at once for callers and events; then the
tasks end, handlers answer 1503, and the connection is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from livekit.protocol import models, rtc

from ..concurrency import Backend, Nursery
from ..errors import DisconnectedError, DisconnectReason
from ..events import Disconnected, RoomEvent
from ..links import Channel, Link, LinkClosedError, LinkFullError
from ..links.framed import DEFAULT_MAX_QUEUE_BYTES
from ..links.media import MediaLink
from ..links.resumable import ResumableQueue
from ..protocol.budgets import Budget
from ..protocol.limits import SessionLimits
from ..protocol.logs import peer_logger
from ..protocol.retained import NotRetainedError
from ..protocol.sequences import SequenceFilters
from ..rpc.endpoint import RpcEndpoint
from ..rpc.handler_context import IN_HANDLER
from ..rpc.invocations import Invocations
from ..rpc.methods import MethodRegistry
from ..streams.buffer_context import BufferContext
from .connection import Connection, ConnectionEnd, PingTimes
from .data_packets import data_event
from .joining import NotResumedError, join_request, resume_request
from .local_participant import LocalParticipant
from .outbound import Outbound
from .reconnecting import Ending
from .room_state import RoomState
from .roster import Roster
from .roster_changes import RosterChanges
from .stream_handlers import RunHandler, StreamHandlers
from .tracks.session_tracks import SessionTracks
from .tracks.subscriptions import Subscriptions

logger = peer_logger(__name__)

#: The most publishers whose last numbers a request to resume lists: those that sent last. The
#: request is part of a URL.
_MAX_RECEIVE_STATES: Final = 256
#: Seconds after a rejoin for which participants that were in the room before are expected back
#: (L9): those that reconnect try for as long, unless set otherwise.
RETURN_WINDOW: Final = 60.0


class Session:
    """One membership in a room, for the block of `Room.connect`.

    Args:
        join: The server's response on joining.
        registry: The methods that we answer to.
        emit: Takes the events, in order.
        on_lost: Called when the room is lost, before anything else.
        sequences: The filter of packets that are sent again, also after earlier sessions (P6).
        budget: Counts the bytes that peers make us hold (B4).
        resumes: Whether the session may outlive its first connection.
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
        resumes: bool,
    ) -> None:
        self._backend = backend
        self._first_ping_times = self._ping_times = PingTimes.of(join, resumes=resumes)
        # The connections, one after another; without a queue of its own, the session has only one
        self._queue = ResumableQueue(link, DEFAULT_MAX_QUEUE_BYTES, backend) if resumes else None
        self.connection = self._connect(link)
        self.connection_end: ConnectionEnd | None = None
        self._emit = emit
        self._on_lost = on_lost
        self.budget = budget
        context = BufferContext(backend, budget, limits.max_stream_bytes)
        self.outbound = Outbound(self._queue or link, join, limits, context, link.roster_delay)
        # The room and its participants
        self.local_participant = LocalParticipant(join.participant, registry, self.outbound)
        subscriptions = Subscriptions(
            self.outbound.packet_sender, self.outbound.remote_participants, emit
        )
        self.roster = Roster(
            self.local_participant,
            self.outbound.remote_participants,
            self.local_participant.perform_rpc,
            subscriptions.subscribe,
        )
        for info in join.other_participants:
            for _ in self.roster.apply(info):
                pass
        self.outbound.publishing.us = self.local_participant
        self.outbound.publishing.emit = emit
        self.tracks = SessionTracks(self.local_participant, self.outbound.publishing, subscriptions)
        self.tracks.use(link.media)
        # Its receiving half
        self.calls = self.outbound.calls
        self.invocations = Invocations(
            self.outbound.packet_sender,
            self.outbound.streams,
            registry,
            limits,
            context,
            self.outbound.remote_participants,
            self.local_participant.sid,
        )
        self.rpc = RpcEndpoint(
            context,
            self.calls,
            self.invocations,
            partial(stream_handlers.open_buffer, context, run_stream_handler),
            max_peer_streams=limits.max_peer_streams,
            max_streams=limits.max_streams,
        )
        self.roster_changes = RosterChanges(
            self.outbound.roster_changed,
            self.roster,
            self.rpc,
            emit,
            self.tracks.on_roster_changed,
        )
        self.state = RoomState(join.room, self.outbound, self.roster, self.roster_changes, emit)
        self._sequences = sequences
        # The end
        self._nursery: Nursery
        self._has_left = False
        self._leaving = backend.event()
        self._closed = backend.event()

    # Life cycle

    async def run(self, serve_connections: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Serve the room until we leave or it is lost, and close the connection.

        Args:
            serve_connections: Serves the connections, one after another.
        """
        IN_HANDLER.set(True)
        try:
            async with self._backend.open_nursery() as self._nursery:
                self.calls.repeats.run_in(self._nursery)
                self.invocations.run_in(self._nursery)
                self._nursery.start_soon(serve_connections)
                await self._leaving.wait()
                self._nursery.cancel_scope.cancel()
        finally:
            self.leave()
            if self._has_left:
                # After the final responses of our handlers: the server ignores anything later.
                self._send_leave()
            try:
                await self.connection.aclose(str(self.outbound.disconnection))
            finally:
                self._closed.set()

    @property
    def disconnect_reason(self) -> DisconnectReason | None:
        """The reason why the session is over; None while it is not."""
        disconnection = self.outbound.disconnection
        return None if disconnection is None else disconnection.reason

    def leave(self, reason: DisconnectReason = DisconnectReason.CLIENT_INITIATED) -> None:
        """Leave the room, if we are still in it.

        Args:
            reason: LiveKit's name of the reason.
        """
        if self.outbound.disconnection is None:
            self._has_left = True
            self._end(DisconnectedError(reason, "we left the room"))

    @property
    def is_over(self) -> bool:
        """Whether we have left the room, or lost it."""
        return self.outbound.disconnection is not None

    def lose(self, reason: DisconnectReason, text: str) -> None:
        """Record that the room is lost, if we are still in it.

        Args:
            reason: LiveKit's name of the reason.
            text: The reason for people, in the errors of calls and as the close reason.
        """
        if self.outbound.disconnection is None:
            loss = DisconnectedError(reason, text)
            # Before all else: tasks that wait in the block are cancelled, and must not fail first.
            self._on_lost(loss)
            self._end(loss)

    def _end(self, disconnection: DisconnectedError) -> None:
        self._leaving.set()
        if self._queue is not None:
            self._queue.close(str(disconnection))
        self.outbound.end(disconnection)
        self.tracks.end(disconnection)
        self.rpc.end(str(disconnection), disconnection)
        self.roster_changes.announce()
        self._emit(Disconnected(disconnection.reason))

    # Its connections

    def _connect(self, link: Link) -> Connection:
        resumes = self._queue is not None
        sends_receipts = resumes and link.can_resume
        return Connection(
            self._backend, link, self, self._ping_times, sends_receipts=sends_receipts
        )

    def on_connection_end(self, end: ConnectionEnd) -> None:
        """Go on without a connection, or record that the room is lost."""
        if self.is_over:
            return
        if self._queue is None or end.ending is Ending.FINAL:
            self.lose(end.reason, end.text)
            return
        self.connection_end = end
        if self.connection.has_answered:
            self._ping_times = self._first_ping_times
        elif end.reason is DisconnectReason.CONNECTION_TIMEOUT:
            self._ping_times = self._ping_times.more_patient()
        if self._queue.is_attached:
            self._queue.detach()
            self.calls.on_connection_lost()
            self.state.on_lost()

    def on_signalling_lost(self) -> None:
        """Tell the program that signalling is lost; calls and data go on (L12)."""
        if not self.is_over:
            self.state.on_lost()

    def rejoin_request(self, *, auto_subscribe: bool) -> rtc.JoinRequest:
        """Return the request to join the room again (L7)."""
        sid = self.local_participant.sid
        return join_request(resumes=True, last_sid=sid, auto_subscribe=auto_subscribe)

    def resume_request(self) -> rtc.JoinRequest:
        """Return the request to resume this session over another connection (L3)."""
        last_numbers = self._sequences.highest(_MAX_RECEIVE_STATES)
        return resume_request(self.local_participant.sid, last_numbers)

    def resume(self, link: Link, answer: rtc.ReconnectResponse) -> None:
        """Go on over another link, beginning with the packets that the server has missed.

        Raises:
            LinkClosedError: the link has ended already.
            NotResumedError: the server lacks packets that are not retained any more.
        """
        assert self._queue is not None
        last_number = answer.last_message_seq
        requests = self.outbound.server_requests.unanswered()
        try:
            self._queue.attach(link, requests, lambda packet: packet.sequence <= last_number)
        except NotRetainedError as error:
            raise NotResumedError from error
        self.connection = self._connect(link)
        self.connection_end = None
        self.state.on_resumed()
        self.rpc.on_resumed()

    def rejoin(self, link: Link, join: rtc.JoinResponse) -> None:
        """Go on in another session, over another link.

        Args:
            join: The server's response on joining.

        Raises:
            LinkClosedError: the link has ended already.
        """
        assert self._queue is not None
        us, request = self.outbound.own_changes.restore(
            self.local_participant._info, join.participant
        )
        self._queue.restart(link, self.outbound.server_requests.unanswered(after=request))
        self.outbound.restart(join, link.roster_delay)
        self._first_ping_times = self._ping_times = PingTimes.of(join, resumes=True)
        self.connection = self._connect(link)
        self.connection_end = None
        self.calls.on_connection_restored()
        self.state.on_room(join.room)
        present = {info.identity for info in join.other_participants}
        gone = {name: each for name, each in self.roster.remote.items() if name not in present}
        until = self._backend.current_time() + RETURN_WINDOW
        self.rpc.on_rejoined(us.sid, [*gone.values()], until)
        self.roster_changes.apply(self.roster.rejoin(us, join.other_participants), gone)
        self.tracks.use(link.media)
        self.state.on_restored(resumed=False)

    async def wait_closed(self) -> None:
        """Wait until the link is closed and all tasks have ended."""
        await self._closed.wait()

    def _send_leave(self) -> None:
        assert self.disconnect_reason is not None
        request = rtc.LeaveRequest(reason=self.disconnect_reason.name)
        try:
            self.outbound.packet_sender.send_signal(rtc.SignalRequest(leave=request))
        except (LinkFullError, LinkClosedError) as error:
            logger.debug("left without a LeaveRequest: %s", error)

    # For the connection: `ConnectedSession`

    def on_packet(self, packet: models.DataPacket, kind: str, channel: Channel) -> None:
        """Handle a packet, unless it is a duplicate or the session is over."""
        if self.outbound.disconnection is not None:
            return
        sender = packet.participant_identity
        if packet.sequence and not self._sequences.is_new(packet.participant_sid, packet.sequence):
            logger.debug("ignored a packet of %s seen before", sender)
        elif self.rpc.handle(sender, packet, kind):
            pass
        elif (event := data_event(packet, channel, self.roster)) is not None:
            self._emit(event)
        else:
            logger.debug("ignored a packet of kind %s of %s", kind, sender)

    def on_signal(self, response: rtc.SignalResponse) -> None:
        """Handle a signalling message, unless the session is over."""
        if self.outbound.disconnection is not None:
            return
        if not self.tracks.on_signal(response):
            self.state.on_signal(response)

    async def serve_media(self, media: MediaLink) -> None:
        """Follow the tracks that come in by a connection, until it ends."""
        await self.tracks.serve(media)

    def on_ping(self) -> None:
        """Drop idle streams and expired ids."""
        self.rpc.expire()

    def on_round_trip(self, seconds: float) -> None:
        """Use the measured round trip for the timeouts of calls."""
        self.outbound.packet_sender.round_trip = seconds

    def on_receipt(self, count: int) -> None:
        """Release the packets that have arrived."""
        if self._queue is not None:
            self._queue.retained.on_arrived(count)
