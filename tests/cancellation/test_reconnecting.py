"""Rooms whose connection is lost, and that are ended in each state of its recovery (L1)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from attrs import define, field, frozen
from livekit.protocol import rtc

from trio_rpc import ReconnectPolicy, Room, RpcError
from trio_rpc.events import ConnectionState
from trio_rpc.links import Frame, Link
from trio_rpc.protocol.retained import RetainedPackets
from trio_rpc.server import RoomServer, ServerLimits
from trio_rpc.testing import FaultyNetwork

from ..conftest import Join
from ..support.tokens import API_KEYS, make_token
from .injection import Moment, Whose, cancel_at_each_step, every_moment, living_tasks
from .rooms import AT_REST, at_rest, call, echo, nobody_left

pytestmark = pytest.mark.anyio

#: Seconds that are longer than all else in a test.
LONG = 1_000.0


@frozen
class State:
    """A state of the supervisor, by the steps of the recovery so far.

    Attributes:
        steps: The token asked for, the opening of a link, and each wait for messages on it; the
            last one never ends.
        first_delay: Seconds before the first attempt.
        rejoins: Whether the server has no session to resume.
    """

    steps: tuple[str, ...]
    first_delay: float = 0.0
    rejoins: bool = False


SERVING = State(())
#: The steps of an attempt.
ATTEMPT = ("token", "open", "receive")
LOST_STATES = {
    "delayed": State((), first_delay=LONG),
    "token": State(("token",)),
    "opening": State(("token", "open")),
    "response": State(ATTEMPT),
    "snapshot": State((*ATTEMPT, "receive")),
    "rejoin-token": State((*ATTEMPT, "token"), rejoins=True),
    "rejoin-opening": State((*ATTEMPT, "token", "open"), rejoins=True),
    "rejoin-response": State((*ATTEMPT, *ATTEMPT), rejoins=True),
}
STATES = {"serving": SERVING, **LOST_STATES}


@define(eq=False)
class Stuck:
    """A way to a server on which the recovery of a connection stops in one state."""

    network: FaultyNetwork
    state: State
    steps: list[str] = field(factory=list)
    recovers: bool = False

    async def step(self, name: str) -> None:
        """Count a step of the recovery, and wait for ever if it is the last one."""
        if self.recovers:
            self.steps.append(name)
            if len(self.steps) == len(self.state.steps):
                await anyio.sleep_forever()

    async def token(self) -> str:
        await self.step("token")
        return make_token("alice")

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncIterator[Link]:
        await self.step("open")
        async with self.network.open_link(token, request) as link:
            opened: Any = StuckLink(link, self) if self.recovers else link
            yield opened


@define(eq=False)
class StuckLink:
    """A link that delivers one message at a time: the snapshot comes with the response."""

    link: Link
    way: Stuck
    arrived: list[Frame] = field(factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.link, name)

    @property
    def retained(self) -> RetainedPackets | None:
        return self.link.retained

    @retained.setter
    def retained(self, retained: RetainedPackets | None) -> None:
        self.link.retained = retained

    async def receive(self) -> list[Frame]:
        await self.way.step("receive")
        self.arrived = self.arrived or await self.link.receive()
        return [self.arrived.pop(0)]


class BlockFailedError(Exception):
    """An exception of the block's own."""


Ending = Callable[[Room, anyio.CancelScope], Awaitable[None]]


async def cancel(_room: Room, scope: anyio.CancelScope) -> None:
    scope.cancel()
    await anyio.sleep_forever()


async def let_the_deadline_pass(_room: Room, scope: anyio.CancelScope) -> None:
    scope.deadline = anyio.current_time() + 1
    await anyio.sleep_forever()


async def disconnect(room: Room, _scope: anyio.CancelScope) -> None:
    await room.disconnect()


async def fail(_room: Room, _scope: anyio.CancelScope) -> None:
    raise BlockFailedError


async def end_block(_room: Room, _scope: anyio.CancelScope) -> None:
    pass


@asynccontextmanager
async def in_state(state: State, server: RoomServer) -> AsyncIterator[tuple[Room, Stuck]]:
    """Join as alice, and bring the recovery of her connection into a state."""
    way = Stuck(FaultyNetwork(server), state)
    policy = ReconnectPolicy(give_up_after=2 * LONG, first_delay=state.first_delay)
    connecting = Room().connect(way, way.token, connect_timeout=LONG, reconnect=policy)
    async with connecting as room:
        if state is not SERVING:
            way.recovers = True
            way.network.cut("alice")
            await anyio.wait_all_tasks_blocked()
        yield room, way


@pytest.mark.rule("L1")
@pytest.mark.parametrize("end", [cancel, let_the_deadline_pass, disconnect, fail, end_block])
@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
async def test_the_block_ends_at_once_in_each_state(join: Join, state: State, end: Ending) -> None:
    server = RoomServer(API_KEYS, ServerLimits(resume_window=0 if state.rejoins else 15))
    outcomes: list[str | int] = []
    ended_at = 0.0

    async def call_hang(room: Room) -> None:
        try:
            outcomes.append(await call(room, method="hang"))
        except RpcError as error:
            outcomes.append(error.code)

    async def be_there(scope: anyio.CancelScope) -> None:
        nonlocal ended_at
        async with in_state(state, server) as (room, way), anyio.create_task_group() as tasks:
            assert tuple(way.steps) == state.steps
            lost = state is not SERVING
            expected = ConnectionState.CONN_RECONNECTING if lost else ConnectionState.CONN_CONNECTED
            assert room.connection_state is expected
            tasks.start_soon(call_hang, room)
            await anyio.wait_all_tasks_blocked()
            ended_at = anyio.current_time() + (end is let_the_deadline_pass)
            await end(room, scope)
            if end is end_block:
                tasks.cancel_scope.cancel()
        assert room.statistics() == AT_REST
        assert room.connection_state is ConnectionState.CONN_DISCONNECTED

    async with join("bob", to=server) as bob:
        bob.register_rpc_method("hang", hang)
        await anyio.wait_all_tasks_blocked()
        tasks_before = living_tasks()
        with anyio.CancelScope() as scope:
            if end is fail:
                with pytest.raises(BaseExceptionGroup) as caught:
                    await be_there(scope)
                assert [*map(type, caught.value.exceptions)] == [BlockFailedError]
            else:
                await be_there(scope)
        assert anyio.current_time() == ended_at
        assert scope.cancelled_caught == (end in (cancel, let_the_deadline_pass))
        assert outcomes == (
            [RpcError.ErrorCode.RECIPIENT_DISCONNECTED] if end is disconnect else []
        )
        await nobody_left(server, but=1)
        await at_rest(bob)
        await anyio.wait_all_tasks_blocked()
        assert living_tasks() == tasks_before


async def hang(_data: object) -> None:
    await anyio.sleep_forever()


@every_moment
@pytest.mark.rule("L1")
@pytest.mark.parametrize(
    "fault",
    [
        "cut",
        "full-reconnect",
        pytest.param("half-opened", marks=pytest.mark.thorough),
        pytest.param("refused", marks=pytest.mark.thorough),
    ],
)
async def test_a_session_that_reconnects_can_be_cancelled_at_each_step(
    join: Join, server: RoomServer, fault: str, moment: Moment, whose: Whose
) -> None:
    # A half-open link is noticed later than a call without an acknowledgement.
    network, room = FaultyNetwork(server), Room(max_round_trip_latency=60)
    room.register_rpc_method("echo", echo)
    resumed: list[bool] = []
    room.on("reconnected", resumed.append)

    async def restore() -> None:
        await anyio.sleep(1)
        network.restore()

    async def subject() -> None:
        async with room.connect(network, make_token("alice")), anyio.create_task_group() as tasks:
            await room.wait_for_participant("bob")
            if fault == "half-opened":
                network.half_open()
            elif fault == "full-reconnect":
                await room.simulate_scenario("full-reconnect")
            else:
                network.cut()
            if fault == "refused":
                network.refuse()
                tasks.start_soon(restore)
            assert await call(room, response_timeout=60) == "hi"

    async def check() -> None:
        network.restore()
        assert not room.isconnected()
        assert room.statistics() == AT_REST
        await nobody_left(server, but=1)
        await subject()
        await nobody_left(server, but=1)

    async with join("bob") as bob:
        bob.register_rpc_method("echo", echo)
        hits = await cancel_at_each_step(subject, check, moment=moment, whose=whose)
        assert 5 <= hits < 150
        await at_rest(bob)
    await nobody_left(server)
    assert len(resumed) >= hits
    assert set(resumed) == {fault != "full-reconnect"}
