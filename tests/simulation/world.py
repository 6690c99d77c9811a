"""Plays a scenario: real rooms on a real server, over faulty links."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, Final, Protocol

import anyio
from anyio.abc import TaskGroup
from livekit.protocol import models

from trio_rpc import RpcError, RpcInvocationData
from trio_rpc.protocol.rpc_messages import REQUEST_TOPIC, first_sid_of, request_id_of
from trio_rpc.server.rooms.room import DEFAULT_DEPARTURE_TIMEOUT
from trio_rpc.testing import InMemoryServer, PacketFate

from .checker import Checker
from .player import Player
from .records import Actor, CallRecord, Run, Session
from .scenario import MAX_V2_PAYLOAD_BYTES, Call

#: Seconds after the last call in which everything ends by itself, the ids of requests the latest.
_LAST_SECONDS: Final = 130.0
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


class World:
    """The room of a scenario, and all who come and go."""

    def __init__(self, checker: Checker, visitors: Visitors | None = None) -> None:
        self.checker = checker
        self.visitors = visitors
        self.server = InMemoryServer(checker.scenario.server_limits)
        self._actors = {profile.identity: Actor(profile) for profile in checker.scenario.profiles}
        self._players = {
            identity: Player(self, actor)
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

    def session_of(self, identity: str) -> Session:
        """Return the present session of a participant, or one that is not present."""
        return self._players[identity].current

    def restart_server(self) -> None:
        """Put another server in place of the present one."""
        self.server = InMemoryServer(self.checker.scenario.server_limits)
        for player in self._players.values():
            player.on_server_restarted()

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
        await anyio.sleep(1 + DEFAULT_DEPARTURE_TIMEOUT)
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
                        wait_for_ready=plan.waits_for_connection,
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
                    if first_sid_of(header.attributes) and fate.direction == "sent":
                        record.repeated = anyio.current_time()
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
            # It is sent by the task that makes the call, unless that was interrupted by a rejoin.
            record = _current_call.get(None)
            if record is None:
                return None
            self._requests[request_id] = record
            if self.visitors is not None:
                (callee,) = packet.destination_identities
                self.visitors.overhear(request_id, record.plan.caller, callee)
        return self._requests.get(request_id)
