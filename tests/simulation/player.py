"""The participants of a world, who come and go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
from attrs import define, field
from livekit.protocol import models, rtc

from trio_rpc import ConnectError, DisconnectedError, ReconnectPolicy, Room, RpcInvocationData
from trio_rpc.links import Connector, Link
from trio_rpc.protocol.capabilities import CAN_RESUME
from trio_rpc.testing import FaultyNetwork

from .records import Actor, Outage, Session, Stall
from .scenario import MAX_V2_PAYLOAD_BYTES, Disturbance
from .taps import TappedConnector

if TYPE_CHECKING:
    from .world import World

#: Seconds until a participant that could not join tries again.
_RETRY_SECONDS: Final = 1.0
#: Seconds after which both sides have given up a half-open link.
_NOTICED_AFTER: Final = 15.1
#: Seconds that the server certainly keeps a session whose connection is lost.
_WINDOW: Final = 14.0
#: Seconds for which others certainly expect back who has to rejoin after a restart of the server.
_EXPECTED_BACK: Final = 59.0


@define(eq=False)
class _OldClient:
    """A way to a server for a participant that announces no RPC v2."""

    _connector: Connector

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncIterator[Link]:
        old = rtc.JoinRequest()
        old.CopyFrom(request)
        if CAN_RESUME in request.client_info.capabilities:
            # It speaks no RPC v2, and resumes.
            old.client_info.client_protocol = 0
        else:
            client = request.client_info
            old = rtc.JoinRequest(
                client_info=models.ClientInfo(sdk=client.sdk, version=client.version)
            )
        async with self._connector.open_link(token, old) as link:
            yield link


@define(eq=False, kw_only=True)
class PlayedSession(Session):
    """A session that can be ended.

    Attributes:
        leaving: Set for it to leave.
        scope: Cancelled for it to be cancelled.
        is_restarted: Whether its process is restarted, and knows nothing any more.
    """

    leaving: anyio.Event = field(factory=anyio.Event, repr=False)
    scope: anyio.CancelScope = field(factory=anyio.CancelScope, repr=False)
    is_restarted: bool = False


class Player:
    """A participant who comes and goes."""

    def __init__(self, world: World, actor: Actor) -> None:
        self.actor, profile = actor, actor.profile
        self._world = world
        self._checker = world.checker
        self.link = FaultyNetwork(world.server, profile.faults, on_packet=world.on_packet)
        self._way: Connector = self.link
        if profile.is_direct:
            self._way = TappedConnector(world.server, world.on_packet)
        self._policy = ReconnectPolicy() if profile.reconnects else None
        self._ends_of_outages = 0
        self._for_good = False
        self._turn = 0
        self._idle_room: Room | None = None
        self._sessions = [PlayedSession(actor=self.actor, room=self._make_room())]

    @property
    def current(self) -> PlayedSession:
        """The present session; without one, a session that has ended or not begun."""
        present = (session for session in reversed(self._sessions) if session.is_present)
        return next(present, self._sessions[-1])

    def _make_room(self) -> Room:
        profile = self.actor.profile
        return Room(
            max_round_trip_latency=profile.max_round_trip_latency,
            max_concurrent_handlers=profile.max_concurrent_handlers,
            max_payload_bytes=MAX_V2_PAYLOAD_BYTES,
            **cast("Any", profile.limits),
        )

    async def keep_joining(self, after: float = 0.0) -> None:
        """Join again and again, until another task takes over or it is gone for good."""
        self._turn += 1
        turn = self._turn
        await anyio.sleep(after)
        while turn == self._turn and not self._for_good:
            try:
                await self._join_once()
            except ConnectError as error:
                self._checker.disturbed(
                    anyio.current_time(), f"{self.actor.profile.identity} can't join: {error}"
                )
            except DisconnectedError:
                # The event came before it, and the checker has got it.
                pass
            await anyio.sleep(_RETRY_SECONDS)

    async def _join_once(self) -> None:
        # The same Room again, unless it is still in use.
        room, self._idle_room = self._idle_room or self._make_room(), None
        session = PlayedSession(actor=self.actor, room=room)

        async def answer(data: RpcInvocationData) -> Any:
            return await self._world.answer(data, session)

        def on_disconnected(reason: Any) -> None:
            self._checker.session_ended(session, anyio.current_time(), reason.name)
            session.leaving.set()

        def on_left(participant: Any) -> None:
            self._checker.other_left(session, participant.identity, anyio.current_time())

        room.register_rpc_method("do", answer)
        room.on("disconnected", on_disconnected)
        room.on("participant_disconnected", on_left)
        visitors = self._world.visitors
        connector = self._way if self.actor.profile.speaks_v2 else _OldClient(self._way)
        try:
            with session.scope, visitors.receive(session) if visitors else nullcontext():
                token = self._world.server.token(session.identity)
                async with AsyncExitStack() as stack:
                    self.actor.joining += 1
                    try:
                        await stack.enter_async_context(
                            room.connect(connector, token, reconnect=self._policy)
                        )
                    finally:
                        self.actor.joining -= 1
                    self.actor.sessions.append(session)
                    self._sessions.append(session)
                    now = anyio.current_time()
                    self.actor.end_outages(now, resumed=False)
                    self._checker.session_began(session, now)
                    await session.leaving.wait()
        finally:
            room.unregister_rpc_method("do")
            room.off("disconnected", on_disconnected)
            room.off("participant_disconnected", on_left)
            if not session.is_restarted:
                self._idle_room = room

    async def be_disturbed(self, disturbance: Disturbance) -> None:
        """Have something happen to it."""
        world, session, seconds = self._world, self.current, disturbance.seconds
        if disturbance.kind == "stall":
            world.nursery.start_soon(self._stall, seconds)
            return
        if not session.is_present:
            return
        if disturbance.kind in ("be cut", "be half-open"):
            self._lose_network(seconds, half_open=disturbance.kind == "be half-open")
            return
        session.disturbed = anyio.current_time()
        match disturbance.kind:
            case "leave":
                session.leaving.set()
            case "disconnect":
                world.nursery.start_soon(session.room.disconnect)
            case "be cancelled":
                session.scope.cancel()
            case "be cut off":
                self.link.cut()
            case "be removed":
                with suppress(LookupError):
                    # The server may have removed one that was away.
                    world.server.remove_participant(session.room.name, session.identity)
            case "be replaced":
                seconds = 0.0
            case "restart":
                session.is_restarted = True
                self.link.cut()
                session.scope.cancel()
        world.nursery.start_soon(self.keep_joining, seconds)

    def _lose_network(self, seconds: float, *, half_open: bool) -> None:
        now = anyio.current_time()
        noticed = now + _NOTICED_AFTER if half_open else now
        self.actor.outages.append(Outage(now, now + seconds, noticed, now + _WINDOW))
        if half_open:
            self.link.half_open()
        else:
            self.link.cut()
        if seconds:
            self.link.refuse()
            self._ends_of_outages += 1
            self._world.nursery.start_soon(self._restore_after, seconds)

    async def _restore_after(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self._ends_of_outages -= 1
        if not self._ends_of_outages:
            self.link.restore()

    def on_server_restarted(self) -> None:
        """Be connected to another server, which knows nobody."""
        now = anyio.current_time()
        if self.current.is_present:
            self.actor.outages.append(Outage(now, now, now, now + _EXPECTED_BACK))
        self.link.restart(self._world.server)

    def leave_for_good(self) -> None:
        """Leave, and don't come back."""
        self._for_good = True
        for session in self._sessions:
            if session.is_present:
                session.disturbed = anyio.current_time()
                session.leaving.set()

    async def _stall(self, seconds: float) -> None:
        if self.actor.stalls and self.actor.stalls[-1].ended == float("inf"):
            return
        stall = Stall(anyio.current_time())
        self.actor.stalls.append(stall)
        self.link.stall()
        await anyio.sleep(seconds)
        stall.ended = anyio.current_time()
        self.link.restore()
