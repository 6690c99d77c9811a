"""Plays a scenario: real rooms on a real server, over faulty links."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Final, Protocol

import anyio
from anyio.abc import TaskGroup
from attrs import define, field
from livekit.protocol import models, rtc

from trio_rpc import ConnectError, DisconnectedError, Room, RpcError, RpcInvocationData
from trio_rpc.links import Connector, Link
from trio_rpc.protocol.rpc_messages import REQUEST_TOPIC, request_id_of
from trio_rpc.testing import FaultyNetwork, InMemoryServer, PacketFate

from .checker import Checker
from .records import Actor, CallRecord, Run, Session, Stall
from .scenario import MAX_V2_PAYLOAD_BYTES, Call, Disturbance
from .taps import TappedConnector

#: Seconds after the last call in which everything ends by itself, silent streams the latest.
_LAST_SECONDS: Final = 60.0
#: Seconds until a participant that could not join tries again.
_RETRY_SECONDS: Final = 1.0
#: Seconds that a handler lingers after it was cancelled.
_LINGERING: Final = 0.3

_current_call: ContextVar[CallRecord] = ContextVar("current call")


class Visitors(Protocol):
    """Others who are in the room besides the players of the scenario, and what they do there."""

    async def play(self, world: World) -> None:
        """Come, and be gone again some time after the last call."""
        ...

    def is_from_one(self, data: RpcInvocationData) -> bool:
        """Whether one of them calls."""
        ...

    async def answer(self, data: RpcInvocationData, session: Session) -> str:
        """Be the handler of a call that one of them makes."""
        ...

    def receive(self, session: Session) -> AbstractContextManager[None]:
        """Receive in a player's room what they send."""
        ...

    def may_hold_up(self, since: float, until: float) -> float:
        """Return for how many seconds they may have held up a player who calls or answers them."""
        ...

    def overhear(self, request_id: str, caller: str, callee: str) -> None:
        """Get to know the id of a call that a player makes."""
        ...


@define(eq=False)
class _OldClient:
    """A way to a server for a participant that announces no RPC v2."""

    _connector: Connector

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncIterator[Link]:
        client = request.client_info
        old = models.ClientInfo(sdk=client.sdk, version=client.version)
        async with self._connector.open_link(token, rtc.JoinRequest(client_info=old)) as link:
            yield link


class World:
    """The room of a scenario, and all who come and go."""

    def __init__(self, checker: Checker, visitors: Visitors | None = None) -> None:
        self.checker = checker
        self.visitors = visitors
        self.server = InMemoryServer(checker.scenario.server_limits)
        self._actors = {profile.identity: Actor(profile) for profile in checker.scenario.profiles}
        self._players = {
            identity: _Player(self, actor)
            for identity, actor in self._actors.items()
            if not actor.profile.is_hostile
        }
        self._requests: dict[str, CallRecord] = {}
        self._streams: dict[str, CallRecord] = {}
        self.nursery: TaskGroup

    @property
    def injected(self) -> Counter[str]:
        """The faults on all links, by kind."""
        return sum((each.link.injected for each in self._players.values()), Counter[str]())

    def actor(self, identity: str) -> Actor:
        """Return a participant of the scenario."""
        return self._actors[identity]

    async def play(self) -> None:
        """Play the scenario to its end."""
        async with anyio.create_task_group() as self.nursery:
            for player in self._players.values():
                self.nursery.start_soon(player.keep_joining)
            async with anyio.create_task_group() as script:
                if self.visitors is not None:
                    script.start_soon(self.visitors.play, self)
                script.start_soon(self._play_calls)
                script.start_soon(self._play_disturbances)
            # All calls have ended by now: their handlers and what else there is follow.
            await anyio.sleep(_LAST_SECONDS)
            self.checker.all_done()
            for player in self._players.values():
                player.leave_for_good()
        await anyio.sleep(1)
        statistics = self.server.statistics()
        assert (statistics.rooms, statistics.participants) == (0, 0), statistics
        self.checker.all_done()

    async def _play_calls(self) -> None:
        async with anyio.create_task_group() as callers:
            for plan in self.checker.scenario.calls:
                await anyio.sleep_until(plan.at)
                callers.start_soon(self.perform, plan, self._players[plan.caller].current)

    async def _play_disturbances(self) -> None:
        for disturbance in self.checker.scenario.disturbances:
            await anyio.sleep_until(disturbance.at)
            self.checker.disturbed(anyio.current_time(), f"{disturbance}")
            await self._players[disturbance.identity].be_disturbed(disturbance)

    # Calls

    async def perform(self, plan: Call, session: Session, parent: Run | None = None) -> None:
        """Make a call, and report its end to the checker."""
        callee = self._actors.get(plan.callee)
        known = plan.callee in session.room.remote_participants
        record = CallRecord(plan, session, callee, known, anyio.current_time(), parent)
        self.checker.call_started(record)
        _current_call.set(record)
        outcome: object = None
        try:
            with anyio.move_on_after(plan.cancel_after) as patience:
                try:
                    outcome = await session.room.local_participant.perform_rpc(
                        destination_identity=plan.callee,
                        method=plan.method,
                        payload=plan.payload,
                        response_timeout=plan.response_timeout,
                    )
                except BaseException as error:
                    outcome = error
                    if not isinstance(error, RpcError):
                        raise
            assert outcome is not None or patience.cancelled_caught
        finally:
            now = anyio.current_time()
            if self.visitors is not None:
                record.held_up = self.visitors.may_hold_up(record.started, now)
            self.checker.call_ended(record, now, outcome)

    async def answer(self, data: RpcInvocationData, session: Session) -> Any:
        """Handle a call, as its plan says."""
        if self.visitors is not None and self.visitors.is_from_one(data):
            return await self.visitors.answer(data, session)
        run = self.checker.handler_started(data, session, anyio.current_time())
        plan = run.record.plan
        what = "is cancelled"
        try:
            await anyio.sleep(plan.answer.seconds)
            match plan.answer.kind:
                case "call on" if plan.answer.call is not None:
                    await self.perform(plan.answer.call, session, run)
                case "hang":
                    await anyio.sleep_forever()
                case "linger":
                    await self._linger(run)
            what = f"is to {plan.answer.kind}"
        finally:
            self.checker.handler_ended(run, anyio.current_time(), what)
        match plan.answer.kind:
            case "raise":
                raise RpcError(plan.error_code, "as it was to", str(plan.number))
            case "crash":
                raise LookupError("as it was to")
            case "return a number":
                return plan.number
            case "return too much":
                return "too much" * MAX_V2_PAYLOAD_BYTES
        return plan.echo

    async def _linger(self, run: Run) -> None:
        run.grace = _LINGERING
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(_LINGERING)

    # Packets

    def on_packet(self, fate: PacketFate) -> None:
        """Write down which call's packets were dropped or overtaken."""
        packet = models.DataPacket.FromString(fate.frame.body)
        record = self._record_of(packet, fate)
        if record is not None:
            record.dropped |= not fate.delays
            record.overtaken |= fate.held_back > 0

    def _record_of(self, packet: models.DataPacket, fate: PacketFate) -> CallRecord | None:
        match packet.WhichOneof("value"):
            case "rpc_request":
                return self._find(packet.rpc_request.id, packet, fate)
            case "rpc_ack":
                return self._requests.get(packet.rpc_ack.request_id)
            case "rpc_response":
                return self._requests.get(packet.rpc_response.request_id)
            case "stream_header":
                header = packet.stream_header
                request_id = request_id_of(dict(header.attributes))
                if header.topic == REQUEST_TOPIC:
                    record = self._find(request_id, packet, fate)
                else:
                    record = self._requests.get(request_id)
                if record is not None:
                    self._streams[header.stream_id] = record
                    record.streamed |= not header.HasField("inline_content")
                return record
            case "stream_chunk":
                return self._streams.get(packet.stream_chunk.stream_id)
            case "stream_trailer":
                return self._streams.get(packet.stream_trailer.stream_id)
        return None

    def _find(
        self, request_id: str, packet: models.DataPacket, fate: PacketFate
    ) -> CallRecord | None:
        if fate.direction == "sent" and request_id not in self._requests:
            # It is sent by the task that makes the call.
            record = self._requests[request_id] = _current_call.get()
            if self.visitors is not None:
                (callee,) = packet.destination_identities
                self.visitors.overhear(request_id, record.plan.caller, callee)
        return self._requests.get(request_id)


@define(eq=False, kw_only=True)
class _PlayedSession(Session):
    """A session that can be ended.

    Attributes:
        leaving: Set for it to leave.
        scope: Cancelled for it to be cancelled.
    """

    leaving: anyio.Event = field(factory=anyio.Event, repr=False)
    scope: anyio.CancelScope = field(factory=anyio.CancelScope, repr=False)


class _Player:
    """A participant who comes and goes."""

    def __init__(self, world: World, actor: Actor) -> None:
        self.actor, profile = actor, actor.profile
        self._world = world
        self._checker = world.checker
        self._server = world.server
        self.link = FaultyNetwork(self._server, profile.faults, on_packet=world.on_packet)
        self._way: Connector = self.link
        if profile.is_direct:
            self._way = TappedConnector(self._server, world.on_packet)
        self._for_good = False
        self._turn = 0
        self._idle_room: Room | None = None
        self._sessions = [_PlayedSession(actor=self.actor, room=self._make_room())]

    @property
    def current(self) -> _PlayedSession:
        """The present session; without one, a session that has ended or not begun."""
        present = (session for session in reversed(self._sessions) if session.is_present)
        return next(present, self._sessions[-1])

    def _make_room(self) -> Room:
        profile = self.actor.profile
        return Room(
            max_round_trip_latency=profile.max_round_trip_latency,
            max_concurrent_handlers=profile.max_concurrent_handlers,
            max_payload_bytes=MAX_V2_PAYLOAD_BYTES,
            **profile.limits,
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
        session = _PlayedSession(actor=self.actor, room=room)

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
                token = self._server.token(session.identity)
                async with AsyncExitStack() as stack:
                    self.actor.joining += 1
                    try:
                        await stack.enter_async_context(
                            room.connect(connector, token, reconnect=None)
                        )
                    finally:
                        self.actor.joining -= 1
                    self.actor.sessions.append(session)
                    self._sessions.append(session)
                    self._checker.session_began(session, anyio.current_time())
                    await session.leaving.wait()
        finally:
            room.unregister_rpc_method("do")
            room.off("disconnected", on_disconnected)
            room.off("participant_disconnected", on_left)
            self._idle_room = room

    async def be_disturbed(self, disturbance: Disturbance) -> None:
        """Have something happen to it."""
        world, session, seconds = self._world, self.current, disturbance.seconds
        if disturbance.kind == "stall":
            world.nursery.start_soon(self._stall, seconds)
            return
        if not session.is_present:
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
                self._server.remove_participant(session.room.name, session.identity)
            case "be replaced":
                seconds = 0.0
        world.nursery.start_soon(self.keep_joining, seconds)

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
