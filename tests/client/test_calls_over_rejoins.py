"""Calls in flight when a room is joined again, by their caller or their callee (L7 to L9)."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from attrs import define, field

from trio_rpc import ReconnectPolicy, RefusedError, Room, RpcError, RpcInvocationData
from trio_rpc.client.reconnecting import DEFAULT_RECONNECT_POLICY
from trio_rpc.server import RoomServer
from trio_rpc.server.rooms.member import Member
from trio_rpc.server.rooms.room import ServerRoom
from trio_rpc.testing import FaultyNetwork
from trio_rpc.tokens import Claims

from ..support.tokens import API_KEYS, make_token

pytestmark = pytest.mark.anyio

ERROR = RpcError.ErrorCode


class ForgetfulServer(RoomServer):
    """A server that resumes no session, so that whoever loses a connection rejoins."""

    def __init__(self, api_keys: Mapping[str, str]) -> None:
        super().__init__(api_keys)
        # Only to save the wait for the end of the time in which a session is resumed.
        self.admission.find_session = refuse_session  # type: ignore[method-assign]


def refuse_session(claims: Claims, sid: str) -> tuple[ServerRoom, Member]:
    raise RefusedError(404, "there is no such session (any more)")


@define
class Pair:
    """Alice, who calls, and bob, whose methods count their runs by payload."""

    network: FaultyNetwork
    alice: Room = field(factory=Room)
    bob: Room = field(factory=Room)
    runs: Counter[str] = field(factory=Counter[str])

    def __attrs_post_init__(self) -> None:
        self.bob.register_rpc_method("echo", self.echo)
        self.bob.register_rpc_method("slow", self.slow)

    async def echo(self, data: RpcInvocationData) -> str:
        self.runs[data.payload[:20]] += 1
        return data.payload

    async def slow(self, data: RpcInvocationData) -> str:
        self.runs[data.payload[:20]] += 1
        await anyio.sleep(8)
        return data.payload

    async def call(self, method: str, payload: str = "hi", **options: Any) -> str:
        return await self.alice.local_participant.perform_rpc(
            destination_identity="bob", method=method, payload=payload, **options
        )

    async def failure(self, method: str, payload: str = "hi", **options: Any) -> RpcError:
        with pytest.raises(RpcError) as caught:
            await self.call(method, payload, **options)
        return caught.value

    async def restart_server(self, seconds: float = 2) -> None:
        self.network.refuse()
        self.network.restart(ForgetfulServer(API_KEYS))
        await anyio.sleep(seconds)
        self.network.restore()


@asynccontextmanager
async def pair(
    *,
    alice: ReconnectPolicy | None = DEFAULT_RECONNECT_POLICY,
    bob: ReconnectPolicy | None = DEFAULT_RECONNECT_POLICY,
    **limits: Any,
) -> AsyncIterator[Pair]:
    both = Pair(FaultyNetwork(ForgetfulServer(API_KEYS)), Room(**limits), Room(**limits))
    async with (
        both.bob.connect(both.network, make_token("bob"), reconnect=bob, on_disconnect="continue"),
        both.alice.connect(both.network, make_token("alice"), reconnect=alice),
    ):
        await both.alice.wait_for_participant("bob")
        await both.bob.wait_for_participant("alice")
        yield both


@asynccontextmanager
async def later(seconds: float, function: Callable[..., Any], *args: Any) -> AsyncIterator[None]:
    """Call a function some time after the block has begun."""

    async def run() -> None:
        await anyio.sleep(seconds)
        function(*args)

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(run)
        yield


@pytest.mark.rule("L7", "L8")
@pytest.mark.parametrize("whose", [["alice"], ["bob"], ["alice", "bob"]])
async def test_a_running_call_gets_the_outcome_of_its_one_handler(whose: list[str]) -> None:
    async with pair() as both, later(1, both.network.cut, *whose):
        assert await both.call("slow", response_timeout=20) == "hi"
        assert both.runs == {"hi": 1}
        assert anyio.current_time() == pytest.approx(8, abs=3)


@pytest.mark.rule("L7", "L8")
@pytest.mark.parametrize("whose", [["alice"], ["bob"], ["alice", "bob"]])
async def test_what_was_lost_is_sent_again(whose: list[str]) -> None:
    """Requests, acks and outcomes are lost, as they are at different stages of their calls."""
    async with pair() as both, anyio.create_task_group() as task_group:

        async def call(number: int) -> None:
            await anyio.sleep(number / 2)
            payload = str(number)
            method = "slow" if number % 2 else "echo"
            assert await both.call(method, payload, response_timeout=40) == payload

        for number in range(40):
            task_group.start_soon(call, number)
        for _ in range(3):
            await anyio.sleep(3)
            both.network.half_open(*whose)
            await anyio.sleep(2)
            both.network.cut(*whose)
    assert both.runs == {str(number): 1 for number in range(40)}


@pytest.mark.rule("L8")
async def test_a_callee_that_is_another_process_runs_nothing() -> None:
    async with pair() as both, anyio.create_task_group() as task_group:
        second = Room()
        second.register_rpc_method("slow", both.slow)

        async def take_over() -> None:
            await anyio.sleep(1)
            async with second.connect(both.network, make_token("bob")):
                await anyio.sleep(20)

        task_group.start_soon(take_over)
        failure = await both.failure("slow", response_timeout=20)
        assert failure.code == ERROR.RECIPIENT_DISCONNECTED
        assert "may have run" in (failure.data or "")
        assert anyio.current_time() == pytest.approx(1, abs=0.5)
        assert both.runs == {"hi": 1}
        task_group.cancel_scope.cancel()


@pytest.mark.rule("L8")
async def test_a_callee_without_the_capability_is_not_asked_again() -> None:
    async with pair(bob=None) as both, later(1, both.network.cut, "alice"):
        failure = await both.failure("slow", response_timeout=20)
        assert failure.code == ERROR.RECIPIENT_DISCONNECTED
        assert "may have run" in (failure.data or "")
        assert both.runs == {"hi": 1}


@pytest.mark.rule("C8")
async def test_a_callee_that_leaves_ends_the_call() -> None:
    async with pair() as both, anyio.create_task_group() as task_group:

        async def leave() -> None:
            await anyio.sleep(1)
            await both.bob.disconnect()

        task_group.start_soon(leave)
        failure = await both.failure("slow", response_timeout=20)
        assert failure.code == ERROR.RECIPIENT_DISCONNECTED
        assert anyio.current_time() == pytest.approx(1, abs=0.5)


@pytest.mark.rule("L9")
@pytest.mark.parametrize(("alice", "bob"), [(0.5, 6), (6, 0.5)])
async def test_a_restarted_server_loses_no_call_whoever_is_back_first(
    alice: float, bob: float
) -> None:
    async with (
        pair(
            alice=ReconnectPolicy(first_delay=alice, cap=1),
            bob=ReconnectPolicy(first_delay=bob, cap=1),
        ) as both,
        anyio.create_task_group() as task_group,
    ):

        async def call(number: int) -> None:
            await anyio.sleep(number / 4)
            payload = str(number)
            method = "slow" if number % 2 else "echo"
            assert await both.call(method, payload, response_timeout=30) == payload

        for number in range(40):
            task_group.start_soon(call, number)
        await anyio.sleep(2)
        await both.restart_server()
    assert sorted(both.runs.values()) == [1] * 40


@pytest.mark.rule("L8", "C3")
async def test_the_time_on_the_wire_is_the_rest_of_the_callers() -> None:
    given: list[float] = []
    async with pair() as both:

        @both.bob.register_rpc_method("time")
        async def time(data: RpcInvocationData) -> None:
            given.append(data.response_timeout)

        both.network.drop_next("alice")
        async with later(4, both.network.cut, "alice"):
            await both.call("time", response_timeout=20)
    assert given[0] == pytest.approx(16, abs=0.5)
    assert given[0] < 16


@pytest.mark.rule("L7")
async def test_deadlines_do_not_move() -> None:
    async with pair() as both, later(1, both.network.cut, "alice"):
        failure = await both.failure("slow", response_timeout=6)
        assert failure.code == ERROR.RESPONSE_TIMEOUT
        assert anyio.current_time() == pytest.approx(6, abs=0.5)
        assert both.runs == {"hi": 1}


@pytest.mark.rule("C2", "L9")
async def test_the_time_for_an_ack_begins_when_the_callee_is_back() -> None:
    async with pair(
        alice=ReconnectPolicy(first_delay=1, cap=1), bob=ReconnectPolicy(first_delay=12, cap=1)
    ) as both:
        both.network.restart(ForgetfulServer(API_KEYS))
        await anyio.sleep(0.5)
        assert await both.call("echo", response_timeout=30) == "hi"
        assert 12 <= anyio.current_time() < 14


@pytest.mark.rule("L9")
async def test_a_callee_that_does_not_come_back_is_given_up_after_a_minute() -> None:
    ended: list[tuple[float, int, str | None]] = []
    async with pair() as both, anyio.create_task_group() as task_group:

        async def call(**options: Any) -> None:
            error = await both.failure("slow", **options)
            ended.append((anyio.current_time(), error.code, error.data))

        both.network.stall("bob")
        await anyio.sleep(0.5)
        both.network.restart(ForgetfulServer(API_KEYS))
        await anyio.sleep(0.5)
        assert "bob" not in both.alice.remote_participants
        task_group.start_soon(partial(call, response_timeout=5))
        task_group.start_soon(partial(call, response_timeout=1_000))
        task_group.start_soon(partial(call, wait_for_ready=False))
        await anyio.sleep(100)
    assert [code for _, code, _ in ended] == [ERROR.RECIPIENT_NOT_FOUND] * 3
    assert [round(at) for at, _, _ in ended][:2] == [1, 6]
    assert 60 <= ended[2][0] <= 66
    assert both.runs == {}


@pytest.mark.rule("L9")
async def test_a_call_whose_callee_does_not_come_back_may_have_run() -> None:
    ended: list[tuple[float, str | None]] = []
    async with pair() as both, anyio.create_task_group() as task_group:

        async def call(seconds: float) -> None:
            error = await both.failure("slow", response_timeout=seconds)
            assert error.code == ERROR.RECIPIENT_DISCONNECTED
            ended.append((anyio.current_time(), error.data))

        for seconds in (6, 1_000):
            task_group.start_soon(call, seconds)
        await anyio.sleep(1)
        both.network.refuse("bob")
        both.network.restart(ForgetfulServer(API_KEYS))
        await anyio.sleep(100)
    what = "'bob' did not come back: the handler may have run"
    assert [data for _, data in ended] == [what, what]
    assert round(ended[0][0]) == 6
    assert 60 <= ended[1][0] <= 67


@pytest.mark.rule("L1", "L9")
@pytest.mark.parametrize("moment", [0.0, 0.5, 2.0, 5.0])
async def test_a_block_that_ends_while_calls_wait_leaves_nothing(moment: float) -> None:
    async with pair() as both, anyio.create_task_group() as task_group:
        for _ in range(5):
            task_group.start_soon(partial(both.call, "slow", response_timeout=1_000))
        await anyio.sleep(1)
        both.network.refuse("bob")
        both.network.restart(ForgetfulServer(API_KEYS))
        await anyio.sleep(moment)
        for _ in range(5):
            task_group.start_soon(partial(both.call, "echo", response_timeout=1_000))
        await anyio.sleep(0.01)
        task_group.cancel_scope.cancel()
    assert both.alice.statistics() == Room().statistics()


@pytest.mark.real_time
@pytest.mark.rule("L9")
async def test_a_request_that_is_sent_too_early_waits_for_its_callee() -> None:
    async with pair(bob=ReconnectPolicy(first_delay=0.3), max_payload_bytes=200_000) as both:
        async with anyio.create_task_group() as task_group:
            answers: list[str] = []

            async def call() -> None:
                # Compressed in a thread, during which the server is restarted
                answers.append(await both.call("echo", "x1" * 90_000, response_timeout=30))

            task_group.start_soon(call)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            both.network.restart(ForgetfulServer(API_KEYS))
        assert answers == ["x1" * 90_000]
        assert list(both.runs.values()) == [1]
