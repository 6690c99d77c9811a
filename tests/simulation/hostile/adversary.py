"""The hostile participants of a run: they come, play their moves, answer calls, and come again."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from functools import partial
from random import Random
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup
from livekit.protocol import models, rtc

from trio_rpc import ConnectError, RpcInvocationData
from trio_rpc.client.joining import join_request
from trio_rpc.links import LinkClosedError
from trio_rpc.testing.rooms import DEFAULT_ROOM

from ..records import Actor, Presence, Session
from ..scenario import Profile
from ..sometimes import Sometimes
from ..world import World
from . import forging
from .answers import ANSWERS, Question
from .facts import FACTS, fact_of_error, facts_of_end
from .honest_side import HonestSide
from .member import HostileMember, open_hostile_member
from .moves import MOVES
from .plan import ANSWER_PREFIX, Adversary, HostileScenario, PlannedMove
from .play import KnownCall, Play
from .server_calls import answer, is_of_the_server, play_server_calls

#: How many calls of others are known at a time.
_MAX_KNOWN_CALLS: Final = 200
#: Seconds that a move may take, and that adversaries stay after the last call.
_MOVE_TIMEOUT: Final = 30.0
_LAST_SECONDS: Final = 5.0
#: Seconds until an adversary that is out of the room comes again.
_RETURN_SECONDS: Final = 0.1
_PING_INTERVAL: Final = 4.0
#: Seconds that the server waits with a packet of a call for one who does not read (B8): 0.25, and a
#: moment.
_HELD_UP: Final = 0.26
#: Seconds for which a round trip is remembered that was measured meanwhile.
_REMEMBERED: Final = 5.3


class HostileParty:
    """All adversaries of a run, as its `Visitors`, and as the `Table` that they play at."""

    def __init__(self, scenario: HostileScenario, honest_side: HonestSide) -> None:
        self.sometimes = Sometimes(FACTS)
        self.known_calls: deque[KnownCall] = deque(maxlen=_MAX_KNOWN_CALLS)
        self.answers = scenario.answers
        self._scenario = scenario
        self._honest_side = honest_side
        self._hostiles = {
            each.profile.identity: _Hostile(self, each) for each in scenario.adversaries
        }
        self._number = 0
        # When a receiver did not read
        self._unread: deque[tuple[float, float]] = deque(maxlen=100)
        self._world: World

    # Visitors

    async def play(self, world: World) -> None:
        """Come, play all moves, and be gone again some time after the last call."""
        self._world = world
        async with anyio.create_task_group() as nursery:
            for hostile in self._hostiles.values():
                nursery.start_soon(hostile.come_and_come_again, world)
            if self._scenario.has_server_calls:
                profiles = list(self._scenario.profiles)
                nursery.start_soon(
                    play_server_calls, world, DEFAULT_ROOM, profiles, self._scenario.seed
                )
            for planned in self._scenario.moves:
                await anyio.sleep_until(planned.at)
                nursery.start_soon(self._play_move, planned)
            await anyio.sleep_until(self._scenario.calls[-1].at + _LAST_SECONDS)
            nursery.cancel_scope.cancel()

    def is_from_one(self, data: RpcInvocationData) -> bool:
        """Whether one of them calls, or the server does."""
        known = self._honest_side.knows(data.caller_identity)
        return known or is_of_the_server(data.payload)

    async def answer(self, data: RpcInvocationData, session: Session) -> str:
        """Be the handler of a call that one of them makes, or the server."""
        if not self._honest_side.knows(data.caller_identity):
            return answer(data.payload)
        return await self._honest_side.answer(data, session)

    def receive(self, session: Session) -> AbstractContextManager[None]:
        """Receive in a player's room what they send."""
        return self._honest_side.receive(session)

    def overhear(self, request_id: str, caller: str, callee: str) -> None:
        """Get to know the id of a call that a player makes."""
        self.known_calls.append(KnownCall(request_id, caller, callee))

    # Table

    def honest(self) -> Sequence[Profile]:
        """Return the honest participants."""
        return [each for each in self._scenario.profiles if not each.is_hostile]

    def members(self) -> Sequence[HostileMember]:
        """Return the adversaries who are in the room and may send."""
        return [
            each.member
            for each in self._hostiles.values()
            if each.member is not None and each.adversary.may_send
        ]

    async def storm(
        self, count: int, play: Callable[[HostileMember, int], Awaitable[None]]
    ) -> None:
        """Have many join at once under names of their own, each to play and leave."""
        async with anyio.create_task_group() as nursery:
            for number in range(count):
                identity = f"storm {self.new_number()}"
                nursery.start_soon(partial(self._join_and_play, identity, number, play))

    async def _join_and_play(
        self, identity: str, number: int, play: Callable[[HostileMember, int], Awaitable[None]]
    ) -> None:
        try:
            async with self._open_member(identity, {}) as member:
                await play(member, number)
        except* (ConnectError, LinkClosedError):
            pass

    async def join_again(self, member: HostileMember) -> None:
        """Join with the identity of a participant of the room, and leave."""
        try:
            async with self._open_member(member.identity, {}) as other:
                await other.send_signal(ping=1)
        except* (ConnectError, LinkClosedError):
            pass

    def new_number(self) -> int:
        """Return a number that no play had before."""
        self._number += 1
        return self._number

    # Listener

    def on_packet(self, member: HostileMember, packet: models.DataPacket) -> None:
        """Answer a call, if that is one."""
        if hostile := self._hostiles.get(member.identity):
            hostile.on_packet(member, packet)

    def on_error(self, code: int, data: str) -> None:
        """Record the bound that an error reports."""
        if fact := fact_of_error(code, data):
            self.sometimes.reach(fact)

    def on_read_on(self, member: HostileMember) -> None:
        """Note a time in which an adversary did not read what honest participants send it."""
        if member.identity in self._hostiles:
            self._unread.append((member.unread_since, anyio.current_time()))

    def may_hold_up(self, since: float, until: float) -> float:
        """Return for how many seconds those who do not read may have held up an honest one."""
        since -= _REMEMBERED
        count = sum(1 for began, ended in self._unread if began <= until and since <= ended)
        for hostile in self._hostiles.values():
            if hostile.member is not None and not hostile.member.reading.is_set():
                count += hostile.member.unread_since <= until
        return count * _HELD_UP

    # Sessions

    @asynccontextmanager
    async def _open_member(
        self, identity: str, grants: dict[str, bool], *, speaks_v2: bool = True
    ) -> AsyncGenerator[HostileMember]:
        server = self._world.server
        request = join_request(resumes=False)
        if not speaks_v2:
            request.client_info.CopyFrom(models.ClientInfo(sdk=models.ClientInfo.PYTHON))
        token = server.token(identity, **dict[str, Any](grants))
        async with (
            open_hostile_member(server, token, request, self) as (member, early),
            anyio.create_task_group() as nursery,
        ):
            nursery.start_soon(member.receive_forever, early)
            try:
                yield member
            finally:
                member.read_on()
                self._note_end(member)
                nursery.cancel_scope.cancel()

    def _note_end(self, member: HostileMember) -> None:
        for fact in facts_of_end(member.closed_because or "", member.refusals):
            self.sometimes.reach(fact)

    async def _play_move(self, planned: PlannedMove) -> None:
        hostile = self._hostiles[planned.identity]
        member = await hostile.present()
        now = anyio.current_time()
        self._world.checker.disturbed(now, f"{planned.identity} plays: {planned.name}")
        play = Play(member, self, Random(planned.seed), self._scenario.server_limits)
        try:
            with anyio.move_on_after(_MOVE_TIMEOUT):
                await MOVES[planned.name](play)
        except* LinkClosedError:
            pass
        if hostile.adversary.may_send:
            self.sometimes.reach(f"move: {planned.name}")


class _Hostile:
    """One adversary, which comes again whenever it is out."""

    def __init__(self, party: HostileParty, adversary: Adversary) -> None:
        self.adversary = adversary
        self.member: HostileMember | None = None
        self._party = party
        self._nursery: TaskGroup
        self._came = anyio.Event()
        self._questions = 0

    async def present(self) -> HostileMember:
        """Return the member that it is, as soon as it is one."""
        while self.member is None:
            await self._came.wait()
        return self.member

    async def come_and_come_again(self, world: World) -> None:
        """Be in the room, again and again."""
        profile = self.adversary.profile
        actor = world.actor(profile.identity)
        while True:
            try:
                await self._session(actor)
            except* (ConnectError, LinkClosedError):
                now = anyio.current_time()
                world.checker.disturbed(now, f"{profile.identity} can't join")
            await anyio.sleep(_RETURN_SECONDS)

    async def _session(self, actor: Actor) -> None:
        profile = self.adversary.profile
        async with (
            self._party._open_member(
                profile.identity, self.adversary.grants, speaks_v2=profile.speaks_v2
            ) as member,
            anyio.create_task_group() as self._nursery,
        ):
            presence = Presence(began=anyio.current_time())
            actor.sessions.append(presence)
            self.member = member
            self._came.set()
            self._came = anyio.Event()
            self._nursery.start_soon(self._ping, member)
            try:
                await member.closed.wait()
            finally:
                self.member = None
                presence.ended = anyio.current_time()
                self._nursery.cancel_scope.cancel()

    async def _ping(self, member: HostileMember) -> None:
        with suppress(LinkClosedError):
            while True:
                await anyio.sleep(_PING_INTERVAL)
                await member.send_signal(ping_req=rtc.Ping(timestamp=1))

    # Being called

    def on_packet(self, member: HostileMember, packet: models.DataPacket) -> None:
        """Answer a call, if that is one."""
        caller = packet.participant_identity
        match packet.WhichOneof("value"):
            case "rpc_request":
                request = packet.rpc_request
                request_id, timeout_ms = request.id, request.response_timeout_ms
            case "stream_header" if packet.stream_header.topic == forging.REQUEST_TOPIC:
                attributes = packet.stream_header.attributes
                request_id = attributes["lk.rpc_request_id"]
                timeout_ms = int(attributes["lk.rpc_request_response_timeout_ms"])
            case _:
                return
        if self._party._honest_side.knows(caller):
            return
        self._questions += 1
        random = Random(f"{self._party._scenario.seed} {member.identity} {self._questions}")
        question = Question(member, self._party, random, caller, request_id, timeout_ms / 1000)
        self._party.overhear(request_id, caller, member.identity)
        self._nursery.start_soon(self._answer, question)

    async def _answer(self, question: Question) -> None:
        names = self._party.answers
        (name,) = question.random.choices(names, [ANSWERS[each][0] for each in names])
        with suppress(LinkClosedError):
            await ANSWERS[name][1](question)
        if self.adversary.may_send:
            self._party.sometimes.reach(f"{ANSWER_PREFIX}{name}")
