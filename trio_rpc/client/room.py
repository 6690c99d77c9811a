"""`Room`: joining and leaving a room, and its participants."""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Final, Self

from livekit.protocol import models, rtc

from .. import concurrency
from ..errors import ConnectError, DisconnectedError, DisconnectReason
from ..events import (
    Connected,
    ConnectionState,
    ConnectionStateChanged,
    Disconnected,
    RoomEvent,
)
from ..links import Connector, Frame, Link
from ..links.leaving import leaving_on_failure
from ..links.urls import connector_for
from ..participant import RemoteParticipant
from ..protocol.budgets import DEFAULT_MAX_PEER_BYTES, DEFAULT_MAX_PEERS_BYTES, Budget
from ..protocol.limits import MAX_PAYLOAD_BYTES, SessionLimits
from ..protocol.sequences import SequenceFilters
from ..protocol.stream_content import DEFAULT_MAX_STREAM_BYTES
from ..rpc.calls import DEFAULT_MAX_ROUND_TRIP_LATENCY
from ..rpc.invocations import DEFAULT_MAX_CONCURRENT_HANDLERS, DEFAULT_MAX_WAITING_REQUESTS
from ..streams.incoming import DEFAULT_MAX_PEER_STREAMS, DEFAULT_MAX_STREAMS
from .callbacks import Callbacks
from .joining import join_request, receive_join
from .local_participant import LocalParticipant
from .loss import LossGuard, OnDisconnect
from .options import RoomOptions
from .reconnecting import DEFAULT_RECONNECT_POLICY, ReconnectPolicy
from .registrations import Registrations
from .scenarios import Scenario, simulate
from .session import Session
from .statistics import RoomStatistics
from .supervisor import Dialer, Supervisor, TokenSource, token_from

#: Seconds that joining may take, unless set otherwise.
DEFAULT_CONNECT_TIMEOUT: Final = 10.0


class Room(Registrations):
    """A room, as `typed.room.Room` extends it.

    Args: see there.

    Raises:
        ValueError: a limit is not above 0.
    """

    def __init__(
        self,
        loop: object = None,  # noqa: ARG002
        *,
        max_round_trip_latency: float = DEFAULT_MAX_ROUND_TRIP_LATENCY,
        max_concurrent_handlers: int = DEFAULT_MAX_CONCURRENT_HANDLERS,
        max_waiting_requests: int = DEFAULT_MAX_WAITING_REQUESTS,
        max_payload_bytes: int = MAX_PAYLOAD_BYTES,
        max_stream_bytes: int = DEFAULT_MAX_STREAM_BYTES,
        max_peer_streams: int = DEFAULT_MAX_PEER_STREAMS,
        max_streams: int = DEFAULT_MAX_STREAMS,
        max_peer_bytes: int | None = None,
        max_peers_bytes: int | None = None,
    ) -> None:
        super().__init__()
        if max_peer_bytes is None:
            in_proportion = max_stream_bytes * DEFAULT_MAX_PEER_BYTES // DEFAULT_MAX_STREAM_BYTES
            max_peer_bytes = max(DEFAULT_MAX_PEER_BYTES, in_proportion)
        if max_peers_bytes is None:
            max_peers_bytes = max(DEFAULT_MAX_PEERS_BYTES, max_peer_bytes)
        self._limits = SessionLimits(
            max_round_trip_latency=max_round_trip_latency,
            max_concurrent_handlers=max_concurrent_handlers,
            max_waiting_requests=max_waiting_requests,
            max_payload_bytes=max_payload_bytes,
            max_stream_bytes=max_stream_bytes,
            max_peer_streams=max_peer_streams,
            max_streams=max_streams,
            max_peer_bytes=max_peer_bytes,
            max_peers_bytes=max_peers_bytes,
        )
        self._sequences = SequenceFilters()
        # Set on joining; the properties of the last session remain
        self._connecting = False
        self._session: Session | None = None

    # Joining and leaving

    @asynccontextmanager
    async def connect(
        self,
        url: str | Connector,
        token: TokenSource,
        options: RoomOptions | None = None,
        *,
        ssl_context: ssl.SSLContext | None = None,
        connect_timeout: float | None = None,
        reconnect: ReconnectPolicy | None = DEFAULT_RECONNECT_POLICY,
        on_disconnect: OnDisconnect = "raise",
    ) -> AsyncGenerator[Self]:
        """Join the room for the block, and leave it at its end.

        At the end of the block, running handlers are cancelled and answered with 1503, and the
        server is sent a `LeaveRequest`.

        A connection that is lost is opened again, and the session goes on where it was: calls and
        handlers run on, and packets that were not delivered are sent again. If the server does not
        know the session any more, the room is joined again: calls and handlers run on, but streams
        break off, and packets may be lost. The events `reconnecting` and `reconnected` report it.

        If the room is lost for good, because of the server or the network, the block is cancelled
        and `DisconnectedError` is raised. An exception that the block itself raises at the same
        time is raised in its place, with a note about the loss. With `on_disconnect="continue"` the
        block goes on: calls fail with 1503, and there is the event `disconnected`.

        Args:
            url: The URL of the server, `ws://` or `wss://`, which may be LiveKit's; or of its
                stream link, `tcp://host:port`, `tls://host:port` or `unix:///path`; or a server in
                this process, such as a `trio_rpc.server.RoomServer`; or a `LiveKitConnector`.
            token: The access token, which names the room and our identity; for further connections,
                the last one that the server has sent takes its place. Or an async function that
                returns one, which is called before each connection.
            options: The options of LiveKit's SDK, of which most for media have no effect.
            ssl_context: The certificates to trust, for `wss://` and `tls://`; by default, the
                system's.
            connect_timeout: Seconds that joining may take, and each attempt to reconnect; 10 unless
                given here or in `options`.
            reconnect: The policy for opening a lost connection again; None for never.
            on_disconnect: The effect of losing the room on the block: `"raise"` or `"continue"`.
                `disconnect` in the block, and the end of the block, are no loss.

        Raises:
            ConnectError: no server answered, or it refused; the text says why.
            DisconnectedError: the room was lost.
            RuntimeError: the room is joined already.
            ValueError: `on_disconnect` is neither of the two, or `options` ask for encryption.
        """
        options = options or RoomOptions()
        if connect_timeout is None:
            connect_timeout = options.connect_timeout
        if connect_timeout is None:
            connect_timeout = DEFAULT_CONNECT_TIMEOUT
        limits = options.apply(self._limits)
        guard = LossGuard(concurrency.current(), on_disconnect)
        if self._connecting:
            raise RuntimeError("this Room is joined already: use another Room object")
        self._connecting = True
        try:
            connector = connector_for(url, ssl_context) if isinstance(url, str) else url
            with concurrency.current().move_on_after(connect_timeout) as scope:
                subscribes = options.auto_subscribe
                request = join_request(resumes=reconnect is not None, auto_subscribe=subscribes)
                first_token = await token_from(token)
                async with connector.open_link(first_token, request) as link:
                    with leaving_on_failure(link):
                        join, early_frames = await receive_join(link)
                        if scope.cancel_called:
                            # The timeout has just expired: raise here, and not in the block.
                            await concurrency.current().sleep_forever()
                    scope.deadline = math.inf
                    dialer = Dialer(connector, token, connect_timeout, reconnect, subscribes)
                    async with self._run_session(link, join, early_frames, guard, dialer, limits):
                        yield self
            if scope.cancelled_caught:
                raise ConnectError(f"the room was not joined within {connect_timeout:g} s")
        finally:
            self._connecting = False

    @asynccontextmanager
    async def _run_session(
        self,
        link: Link,
        join: rtc.JoinResponse,
        early_frames: list[Frame],
        guard: LossGuard,
        dialer: Dialer,
        limits: SessionLimits,
    ) -> AsyncGenerator[None]:
        backend = concurrency.current().of_this_loop()
        budget = Budget(limits.max_peer_bytes, limits.max_peers_bytes)
        async with concurrency.open_service_nursery() as nursery:
            callbacks = Callbacks(nursery, budget)
            session = self._session = Session(
                backend,
                link,
                join,
                self._registry,
                partial(self._on_event, callbacks),
                guard.on_lost,
                callbacks.call,
                stream_handlers=self._stream_handlers,
                sequences=self._sequences,
                limits=limits,
                budget=budget,
                resumes=dialer.policy is not None,
            )
            supervisor = Supervisor(backend, session, dialer, nursery)
            self._on_event(callbacks, Connected())
            nursery.start_soon(session.calls.run_timeouts)
            nursery.start_soon(session.run, partial(supervisor.run, early_frames))
            try:
                async with guard.block(session):
                    yield
            finally:
                session.leave()
                with backend.cancel_scope(shield=True):
                    await session.wait_closed()
                self._emitter.reset()

    def _on_event(self, callbacks: Callbacks, event: RoomEvent) -> None:
        emit = partial(self._emitter.emit, callbacks=callbacks)
        match event:
            case Connected():
                emit(ConnectionStateChanged(ConnectionState.CONN_CONNECTED))
                emit(event)
            case Disconnected():
                emit(ConnectionStateChanged(ConnectionState.CONN_DISCONNECTED))
                emit(event)
                self._emitter.end()
            case _:
                emit(event)

    async def disconnect(
        self, *, reason: DisconnectReason = DisconnectReason.CLIENT_INITIATED
    ) -> None:
        """Leave the room before the block of `connect` ends; leaving twice is not an error.

        Args:
            reason: The reason for the server and for the event `disconnected`.
        """
        if self._session is not None:
            self._session.leave(reason)
            await self._session.wait_closed()

    async def simulate_scenario(self, scenario: Scenario) -> None:
        """Simulate a failure of the network or the server, to try out what the program does then.

        It happens soon after, and concerns ourselves alone. Without a connection it does not.

        Args:
            scenario: A failure, by LiveKit's name. After `"signal-reconnect"` and `"migration"` the
                session resumes; after `"full-reconnect"`, `"node-failure"` and
                `"leave-full-reconnect"` we join again, with another SID; after `"server-leave"` the
                room is lost. `"signal-reconnect"` and `"full-reconnect"` are made here, the others
                by the server.

        Raises:
            DisconnectedError: we are not in the room any more.
            RuntimeError: the room was never joined.
            ValueError: there is no such scenario.
        """
        session = self._require_session()
        await session.outbound.checkpoint()
        if (gone := session.outbound.disconnection) is not None:
            raise DisconnectedError(gone.reason, gone.message)
        simulate(session, scenario)

    async def wait_disconnected(self) -> DisconnectReason:
        """Wait until we are not in the room any more, and return the reason.

        This is for other tasks than the block of `connect`, which a lost room cancels, and for
        blocks with `on_disconnect="continue"`.

        Raises:
            RuntimeError: the room was never joined.
        """
        session = self._require_session()
        await session.wait_closed()
        assert session.disconnect_reason is not None
        return session.disconnect_reason

    # The room

    @property
    def name(self) -> str:
        """The room's name, from the token; empty before joining."""
        return self._session.state.room.name if self._session else ""

    @property
    def sid(self) -> str:
        """The id that the server gave the room; empty before joining."""
        return self._session.state.room.sid if self._session else ""

    @property
    def metadata(self) -> str:
        """Text that belongs to the room, set by the server."""
        return self._session.state.room.metadata if self._session else ""

    @property
    def num_participants(self) -> int:
        """The number of participants, as the server counts them, now and then; 0 before joining."""
        return self._session.state.room.num_participants if self._session else 0

    @property
    def creation_time(self) -> datetime:
        """The time at which the room was created, in UTC; that of the Unix epoch before joining."""
        room = self._session.state.room if self._session else models.Room()
        milliseconds = room.creation_time_ms or room.creation_time * 1000
        return datetime.fromtimestamp(milliseconds / 1000, UTC)

    @property
    def departure_timeout(self) -> float:
        """Seconds for which the room remains after its last participant; 0 before joining."""
        return float(self._session.state.room.departure_timeout) if self._session else 0.0

    @property
    def empty_timeout(self) -> float:
        """Seconds for which the room waits for its first participant; 0 before joining."""
        return float(self._session.state.room.empty_timeout) if self._session else 0.0

    @property
    def connection_state(self) -> ConnectionState:
        """Whether we are in the room, and whether the connection is there."""
        if self._session is None or self._session.is_over:
            return ConnectionState.CONN_DISCONNECTED
        if self._session.state.is_reconnecting:
            return ConnectionState.CONN_RECONNECTING
        return ConnectionState.CONN_CONNECTED

    def isconnected(self) -> bool:
        """Whether we are in the room, and the connection is there."""
        return self.connection_state is ConnectionState.CONN_CONNECTED

    def statistics(self) -> RoomStatistics:
        """Return the counts of what the room is busy with."""
        session = self._session
        return RoomStatistics(
            pending_calls=len(session.calls) if session else 0,
            running_handlers=len(session.invocations) if session else 0,
            open_streams=session.rpc.open_streams if session else 0,
            held_bytes=session.budget.held if session else 0,
        )

    # Participants

    @property
    def local_participant(self) -> LocalParticipant:
        """Ourselves.

        Raises:
            RuntimeError: the room was never joined.
        """
        return self._require_session().local_participant

    @property
    def remote_participants(self) -> Mapping[str, RemoteParticipant]:
        """The other participants, by identity: a view, which changes as they join and leave."""
        return MappingProxyType(self._session.roster.remote if self._session else {})

    async def wait_for_participant(self, identity: str) -> RemoteParticipant:
        """Wait until a participant is in the room and can be called.

        Raises:
            DisconnectedError: we are not in the room any more.
            RuntimeError: the room was never joined.
        """
        session = self._require_session()
        while True:
            if (gone := session.outbound.disconnection) is not None:
                await session.outbound.checkpoint()
                raise DisconnectedError(gone.reason, gone.message)
            participant = session.roster.remote.get(identity)
            if participant is not None and participant.is_active:
                return participant
            await session.roster_changes.wait()

    def __repr__(self) -> str:
        return f"<Room {self.name!r} {self.connection_state.name}>"

    def _require_session(self) -> Session:
        if self._session is None:
            raise RuntimeError("the room is not joined: do this inside `async with room.connect()`")
        return self._session
