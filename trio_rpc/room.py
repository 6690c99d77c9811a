"""A room: joining and leaving it, who is in it, and what happens there."""

from __future__ import annotations

import logging
import math
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from types import MappingProxyType
from typing import Final, overload

from attrs import frozen
from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc

from . import concurrency
from .calls import DEFAULT_MAX_ROUND_TRIP_LATENCY
from .concurrency import Nursery, failure_in
from .errors import ConnectError
from .events import (
    Connected,
    ConnectionState,
    ConnectionStateChanged,
    DisconnectReason,
    EventEmitter,
    RoomEvent,
)
from .links import Channel, Connector, Frame, Link, LinkClosedError
from .links.websocket import WebSocketConnector
from .local_participant import LocalParticipant
from .methods import DEFAULT_MAX_CONCURRENT_HANDLERS, H, MethodRegistry
from .participant import RemoteParticipant
from .session import Session

logger = logging.getLogger(__name__)

#: Seconds that joining may take, unless told otherwise.
DEFAULT_CONNECT_TIMEOUT: Final = 10.0


@frozen
class RoomStatistics:
    """What a room is busy with at a moment; all zero when it is at rest.

    Attributes:
        pending_calls: Calls of ours that wait for an answer.
        running_handlers: Invocations of our methods that are not answered yet.
    """

    pending_calls: int
    running_handlers: int


class Room(EventEmitter):
    """A room of participants who call each other's methods.

    Args:
        max_round_trip_latency: Seconds in which the callee must acknowledge a call (C2).
        max_concurrent_handlers: How many invocations of our methods run at the same time; more
            wait their turn while their time runs (A13).

    Raises:
        ValueError: a limit is not above 0.
    """

    def __init__(
        self,
        *,
        max_round_trip_latency: float = DEFAULT_MAX_ROUND_TRIP_LATENCY,
        max_concurrent_handlers: int = DEFAULT_MAX_CONCURRENT_HANDLERS,
    ) -> None:
        if not max_round_trip_latency > 0:
            raise ValueError(f"max_round_trip_latency is above 0, not {max_round_trip_latency}")
        if max_concurrent_handlers < 1:
            raise ValueError(
                f"max_concurrent_handlers is at least 1, not {max_concurrent_handlers}"
            )
        super().__init__()
        self._max_round_trip_latency = max_round_trip_latency
        self._max_concurrent_handlers = max_concurrent_handlers
        self._registry = MethodRegistry()
        # Set while connected; the last stay can still be asked about after it
        self._connecting = False
        self._nursery: Nursery | None = None
        self._session: Session | None = None

    # Joining and leaving

    @asynccontextmanager
    async def connect(
        self,
        url: str | Connector,
        token: str,
        *,
        ssl_context: ssl.SSLContext | None = None,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT,
    ) -> AsyncGenerator[Room]:
        """Be in the room for as long as the block runs.

        When the block ends, handlers that still run are cancelled and answer 1503, and the server
        is told. Should the server end our stay before, the block goes on: the `disconnected` event
        tells, pending calls get 1503, and further ones raise `RuntimeError`.

        Args:
            url: The server's, `ws://` or `wss://`; or a server in this process, as
                `trio_rpc.server.RoomServer` is.
            token: The access token, which names the room and says who we are.
            ssl_context: For `wss://`: which certificates to trust; the system's unless given.
            connect_timeout: Seconds that joining may take.

        Raises:
            ConnectError: no server answered, or it refused; the text says why.
            RuntimeError: the room is joined already.
        """
        if self._connecting:
            raise RuntimeError("this Room is joined already: use another Room object")
        self._connecting = True
        try:
            connector = WebSocketConnector(url, ssl_context) if isinstance(url, str) else url
            with concurrency.current().move_on_after(connect_timeout) as scope:
                async with connector.open_link(token, _client_info()) as link:
                    join, early_frames = await _receive_join(link)
                    if scope.cancel_called:
                        # Too late by a moment: be cancelled here, not somewhere in the block.
                        await concurrency.current().sleep_forever()
                    scope.deadline = math.inf
                    async with self._stay(link, join, early_frames):
                        yield self
            if scope.cancelled_caught:
                raise ConnectError(f"the room was not joined within {connect_timeout:g} s")
        finally:
            self._connecting = False

    @asynccontextmanager
    async def _stay(
        self, link: Link, join: rtc.JoinResponse, early_frames: list[Frame]
    ) -> AsyncGenerator[None]:
        backend = concurrency.current()
        session = self._session = Session(
            backend,
            link,
            join,
            self._registry,
            self._emit_from_session,
            max_round_trip_latency=self._max_round_trip_latency,
            max_concurrent_handlers=self._max_concurrent_handlers,
        )
        async with concurrency.open_service_nursery() as self._nursery:
            self._emit(ConnectionStateChanged(ConnectionState.CONN_CONNECTED))
            self._emit(Connected())
            self._nursery.start_soon(session.run, early_frames)
            try:
                yield
            finally:
                session.leave(DisconnectReason.CLIENT_INITIATED)
                with backend.cancel_scope(shield=True):
                    await session.wait_closed()
                self._end_streams()
                self._over = False

    async def disconnect(self) -> None:
        """Leave the room before the block of `connect` ends; leaving twice is no error."""
        if self._session is not None:
            self._session.leave(DisconnectReason.CLIENT_INITIATED)
            await self._session.wait_closed()

    async def wait_disconnected(self) -> DisconnectReason:
        """Wait until we are not in the room any more, for whichever reason.

        Raises:
            RuntimeError: the room was never joined.
        """
        session = self._require_session()
        await session.wait_closed()
        assert session.disconnect_reason is not None
        return session.disconnect_reason

    # Methods

    @overload
    def register_rpc_method(self, method_name: str, handler: H) -> H: ...
    @overload
    def register_rpc_method(self, method_name: str, handler: None = None) -> Callable[[H], H]: ...
    def register_rpc_method(
        self, method_name: str, handler: H | None = None
    ) -> H | Callable[[H], H]:
        """Answer to a method, before or after joining; without a handler, a decorator.

        The handler is called with an `RpcInvocationData` and returns a `str` of at most 15,360
        UTF-8 bytes, or None. An async handler runs in a task of the room's, a plain function in a
        worker thread. It is cancelled when the caller's time is over. What it raises reaches the
        caller as it is when it is an `RpcError`, and as 1500 when it is anything else.

        Args:
            method_name: 1 to 64 UTF-8 bytes.
            handler: What answers.

        Raises:
            TypeError: `handler` is not callable.
            ValueError: the name is taken, empty or too long.

        Source: LiveKit's documentation of remote method calls; rules A1 to A13.
        """
        return self._registry.register_or_decorate(method_name, handler)

    def unregister_rpc_method(self, method: str) -> None:
        """Answer to a method no longer; invocations that run finish.

        Raises:
            KeyError: there is no such method.
        """
        self._registry.unregister(method)

    # The room

    @property
    def name(self) -> str:
        """The room's name, as the token has it; empty before joining."""
        return self._session.room.name if self._session else ""

    @property
    def sid(self) -> str:
        """The id that the server gave the room; empty before joining."""
        return self._session.room.sid if self._session else ""

    @property
    def metadata(self) -> str:
        """Text that belongs to the room, set by the server."""
        return self._session.room.metadata if self._session else ""

    @property
    def connection_state(self) -> ConnectionState:
        """Whether we are in the room."""
        if self._session is None or self._session.disconnect_reason is not None:
            return ConnectionState.CONN_DISCONNECTED
        return ConnectionState.CONN_CONNECTED

    def isconnected(self) -> bool:
        """Whether we are in the room."""
        return self.connection_state is ConnectionState.CONN_CONNECTED

    def statistics(self) -> RoomStatistics:
        """What the room is busy with."""
        session = self._session
        return RoomStatistics(
            pending_calls=len(session.calls) if session else 0,
            running_handlers=len(session.invocations) if session else 0,
        )

    # Who is in it

    @property
    def local_participant(self) -> LocalParticipant:
        """Ourselves.

        Raises:
            RuntimeError: the room was never joined.
        """
        return self._require_session().local_participant

    @property
    def remote_participants(self) -> Mapping[str, RemoteParticipant]:
        """The others, by their identity. A view: it changes as they come and go."""
        return MappingProxyType(self._session.roster.remote if self._session else {})

    async def wait_for_participant(self, identity: str) -> RemoteParticipant:
        """Wait until a participant is in the room and can be called.

        Raises:
            RuntimeError: the room is not joined, or was left while this waited.
        """
        session = self._require_session()
        while True:
            session.require_joined()
            participant = session.roster.remote.get(identity)
            if participant is not None and participant.is_active:
                return participant
            await session.roster_changed.wait()

    def __repr__(self) -> str:
        return f"<Room {self.name!r} {self.connection_state.name}>"

    def _require_session(self) -> Session:
        if self._session is None:
            raise RuntimeError("the room is not joined: do this inside `async with room.connect()`")
        return self._session

    # Events

    def _emit_from_session(self, event: RoomEvent) -> None:
        if event.name == "disconnected":
            self._emit(ConnectionStateChanged(ConnectionState.CONN_DISCONNECTED))
        self._emit(event)
        if event.name == "disconnected":
            self._over = True
            self._end_streams()

    def _run_in_background(self, name: str, awaitable: Awaitable[object]) -> None:
        async def finish() -> None:
            try:
                await awaitable
            except BaseException as error:
                failure = failure_in(error)
                if failure is None:
                    raise
                logger.error("a callback for %s failed", name, exc_info=failure)

        assert self._nursery is not None
        self._nursery.start_soon(finish, name=f"callback for {name}")


def _client_info() -> models.ClientInfo:
    return models.ClientInfo(
        sdk=models.ClientInfo.PYTHON, version=version("trio-rpc"), protocol=16, client_protocol=0
    )


async def _receive_join(link: Link) -> tuple[rtc.JoinResponse, list[Frame]]:
    """What the server says on joining, and the frames that came with it."""
    try:
        (channel, body), *others = await link.receive()
        response = rtc.SignalResponse.FromString(body) if channel is Channel.SIGNAL else None
    except LinkClosedError as error:
        raise ConnectError(f"the server let us go before we had joined: {error}") from None
    except (ValueError, DecodeError):
        response, others = None, []
    match response and response.WhichOneof("message"):
        case "join":
            assert response is not None
            return response.join, others
        case "leave":
            assert response is not None
            reason = DisconnectReason(response.leave.reason).name
            raise ConnectError(f"the server refused to let us in: {reason}")
        case _:
            raise ConnectError("the server's first message was not a JoinResponse")
