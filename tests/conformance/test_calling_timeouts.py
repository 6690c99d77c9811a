"""Rules C1 to C3: the timeouts of a call, their errors, and the timeout in the request."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Final

import anyio
import pytest
import sniffio
import trio.lowlevel
import trio.testing
from livekit.protocol import models, rtc

from trio_rpc import Room, RpcError, RpcInvocationData
from trio_rpc.protocol.limits import MAX_TIMEOUT_MS
from trio_rpc.testing import VirtualTimeLoop

from ..conftest import Join
from ..support.caller import Caller, Failure, built_in, caller
from ..support.scripted_server import ScriptedServer

pytestmark = pytest.mark.anyio

NOT_ACKNOWLEDGED: Final = "'bob' did not acknowledge 'greet' within {:g} s"
NOT_ANSWERED: Final = "'bob' acknowledged 'greet' but did not answer it within {:g} s"
NEITHER: Final = "'bob' neither acknowledged nor answered 'greet' within {:g} s"


def no_ack(seconds: float) -> Failure:
    return built_in(RpcError.ErrorCode.CONNECTION_TIMEOUT, NOT_ACKNOWLEDGED.format(seconds))


def no_response(seconds: float) -> Failure:
    return built_in(RpcError.ErrorCode.RESPONSE_TIMEOUT, NOT_ANSWERED.format(seconds))


def nothing(seconds: float) -> Failure:
    return built_in(RpcError.ErrorCode.RESPONSE_TIMEOUT, NEITHER.format(seconds))


def patient_server() -> ScriptedServer:
    """Return a server that may be silent for as long as a test lasts."""
    server = ScriptedServer()
    server.join.ping_timeout = 1_000_000
    return server


def exactly(seconds: float) -> Any:
    """Match `seconds` up to the rounding of floats."""
    return pytest.approx(seconds, rel=1e-9, abs=1e-9)


def let_time_pass(seconds: float) -> None:
    """Advance the clock at once, as a callback that blocks does."""
    if sniffio.current_async_library() == "trio":
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        clock.jump(seconds)
    else:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop.jump(seconds)


# Timeouts


@pytest.mark.rule("C1", "C2", "E2")
@pytest.mark.parametrize(
    ("timeouts", "ack_after", "expected", "seconds"),
    [
        pytest.param({}, None, no_ack(7), 7, id="defaults, no ack"),
        pytest.param({}, 0, no_response(10), 10, id="defaults, ack at once"),
        pytest.param({}, 6.75, no_response(10), 10, id="defaults, late ack"),
        pytest.param({}, 7.25, no_ack(7), 7, id="defaults, ack too late"),
        pytest.param({"response_timeout": 30}, None, no_ack(7), 7, id="30, no ack"),
        pytest.param({"response_timeout": 30}, 6, no_response(30), 30, id="30, ack"),
        pytest.param({"response_timeout": 3}, None, nothing(3), 3, id="3, no ack"),
        pytest.param({"response_timeout": 3}, 2, no_response(3), 3, id="3, ack"),
        pytest.param({"response_timeout": 7}, None, nothing(7), 7, id="7, no ack"),
        pytest.param({"response_timeout": 1e-9}, None, nothing(1e-9), 1e-9, id="1e-9"),
        pytest.param({"response_timeout": 1e-3}, None, nothing(1e-3), 1e-3, id="1e-3"),
        pytest.param({"response_timeout": 1e308}, None, no_ack(7), 7, id="1e308, no ack"),
        pytest.param({"response_timeout": math.inf}, None, no_ack(7), 7, id="inf, no ack"),
    ],
)
async def test_a_call_gives_up_on_time(
    timeouts: dict[str, Any], ack_after: float | None, expected: Failure, seconds: float
) -> None:
    async with caller(patient_server()) as alice:
        call, request_id = await alice.start_call(**timeouts)
        if ack_after is not None:
            await anyio.sleep(ack_after)
            alice.acknowledge(request_id)
        assert await call.failure() == expected
        assert call.seconds == exactly(seconds)
        assert alice.pending_calls == 0


@pytest.mark.rule("C2", "E2")
@pytest.mark.parametrize(
    ("latency", "response_timeout", "expected", "seconds"),
    [
        (0.25, 10, no_ack(0.25), 0.25),
        (20, 30, no_ack(20), 20),
        (20, 10, nothing(10), 10),
        (math.inf, 12.5, nothing(12.5), 12.5),
        (1e-9, 10, no_ack(1e-9), 1e-9),
    ],
)
async def test_a_room_sets_how_long_an_ack_may_take(
    latency: float, response_timeout: float, expected: Failure, seconds: float
) -> None:
    async with caller(patient_server(), room=Room(max_round_trip_latency=latency)) as alice:
        call = alice.call(response_timeout=response_timeout)
        assert await call.failure() == expected
        assert call.seconds == exactly(seconds)


@pytest.mark.rule("C2")
@pytest.mark.parametrize("latency", [0, 0.0, -1, -math.inf, math.nan])
def test_a_room_refuses_a_latency_that_is_none(latency: float) -> None:
    with pytest.raises(ValueError, match="max_round_trip_latency is above 0, not "):
        Room(max_round_trip_latency=latency)


@pytest.mark.rule("C1", "C2")
async def test_a_call_without_any_timeout_waits_for_as_long_as_it_takes() -> None:
    room = Room(max_round_trip_latency=math.inf)
    async with caller(patient_server(), room=room) as alice:
        call, request_id = await alice.start_call(response_timeout=math.inf)
        await anyio.sleep(40_000)
        alice.acknowledge(request_id)
        await anyio.sleep(40_000)
        assert not call.has_ended
        alice.respond(request_id, "hello")
        assert await call.outcome() == "hello"


@pytest.mark.rule("C1", "C2")
@pytest.mark.parametrize("acknowledged", [True, False])
async def test_a_response_in_the_last_moment_counts(acknowledged: bool) -> None:
    async with caller() as alice:
        call, request_id = await alice.start_call(response_timeout=7.5)
        if acknowledged:
            alice.acknowledge(request_id)
        await anyio.sleep(7.499 if acknowledged else 6.999)
        alice.respond(request_id, "hello")
        assert await call.outcome() == "hello"


@pytest.mark.rule("C2")
async def test_an_ack_in_time_counts_even_if_a_callback_blocks_right_after_it() -> None:
    async with caller() as alice:
        alice.room.on("data_received", lambda: let_time_pass(2))
        call, request_id = await alice.start_call(response_timeout=20)
        await anyio.sleep(6)
        alice.acknowledge(request_id)
        alice.server.send_from("bob", user=models.UserPacket(payload=b"in the same message"))
        await alice.settle()
        assert anyio.current_time() == exactly(8)
        assert not call.has_ended
        alice.respond(request_id, "hello")
        assert await call.outcome() == "hello"


@pytest.mark.rule("C1", "C3", "A5")
async def test_the_callee_gives_up_just_before_its_caller_would(join: Join) -> None:
    async def sleep(data: RpcInvocationData) -> None:
        await anyio.sleep_forever()

    async with join("alice") as alice, join("bob") as bob:
        bob.register_rpc_method("sleep", sleep)
        await alice.wait_for_participant("bob")
        started = anyio.current_time()
        with pytest.raises(RpcError) as caught:
            await alice.local_participant.perform_rpc(
                destination_identity="bob", method="sleep", payload="", response_timeout=2
            )
        assert anyio.current_time() - started == exactly(1.999)
        assert caught.value.code == RpcError.ErrorCode.RESPONSE_TIMEOUT
        assert caught.value.data == "the handler of 'sleep' did not finish within 1.999 s"


# The timeout in the request


@pytest.mark.rule("C3", "P3")
@pytest.mark.parametrize(
    ("response_timeout", "expected_ms"),
    [
        (1e-9, 1),
        (1e-6, 1),
        (0.0009, 1),
        (0.001, 1),
        (0.002, 1),
        (0.0025, 2),
        (0.003, 2),
        (0.5, 499),
        (1, 999),
        (10, 9_999),
        (86_400, 86_399_999),
        (4_294_967.295, MAX_TIMEOUT_MS - 1),
        (4_294_967.2955, MAX_TIMEOUT_MS),
        (4_294_967.296, MAX_TIMEOUT_MS),
        (5_000_000, MAX_TIMEOUT_MS),
        (1e20, MAX_TIMEOUT_MS),
        (1e308, MAX_TIMEOUT_MS),
        (math.inf, MAX_TIMEOUT_MS),
    ],
)
async def test_the_callee_has_less_time_than_its_caller(
    response_timeout: float, expected_ms: int
) -> None:
    async with caller() as alice:
        alice.call(response_timeout=response_timeout)
        request = await alice.expect_request()
        assert request.response_timeout_ms == expected_ms


async def answer_ping(server: ScriptedServer, *, after: float) -> None:
    ping = await server.receive_ping()
    await anyio.sleep(after)
    server.send_signal(pong_resp=rtc.Pong(last_ping_timestamp=ping.timestamp))


@pytest.mark.rule("C3")
@pytest.mark.parametrize(
    ("response_timeout", "expected_ms"),
    [(10, 9_749), (0.5, 249), (0.251, 1), (0.25, 1), (0.125, 1), (math.inf, MAX_TIMEOUT_MS)],
)
async def test_the_round_trip_to_the_server_is_taken_off(
    response_timeout: float, expected_ms: int
) -> None:
    async with caller() as alice:
        await answer_ping(alice.server, after=0.25)
        await alice.settle()
        alice.call(response_timeout=response_timeout)
        request = await alice.expect_request()
        assert request.response_timeout_ms == expected_ms


@pytest.mark.rule("C3")
async def test_the_last_round_trip_counts() -> None:
    async with caller() as alice:
        await answer_ping(alice.server, after=0.25)
        await answer_ping(alice.server, after=1)
        await alice.settle()
        alice.call(response_timeout=8)
        assert (await alice.expect_request()).response_timeout_ms == 6_999


@pytest.mark.rule("C3")
async def test_an_answer_to_no_ping_measures_nothing() -> None:
    async with caller() as alice:
        ping = await alice.server.receive_ping()
        await anyio.sleep(3)
        alice.server.send_signal(pong_resp=rtc.Pong(last_ping_timestamp=ping.timestamp - 1))
        await alice.settle()
        alice.call(response_timeout=8)
        assert (await alice.expect_request()).response_timeout_ms == 7_999


# A server that does not read


async def fill_queue(alice: Caller) -> None:
    """Send until not even the smallest packet finds room in the queue."""
    for size in (60_000, 1_000, 1):
        with anyio.move_on_after(0.25) as scope:
            while True:
                await alice.room.local_participant.publish_data(bytes(size))
        assert scope.cancelled_caught


async def receive_requests(alice: Caller) -> list[models.RpcRequest]:
    """Receive everything until the participant leaves, and return the requests."""
    messages, _ = await alice.server.receive_rest()
    packets = [each for each in messages if isinstance(each, models.DataPacket)]
    assert len(packets) > 60
    return [packet.rpc_request for packet in packets if packet.HasField("rpc_request")]


@pytest.mark.rule("C1", "C2", "C9")
@pytest.mark.parametrize(
    ("response_timeout", "expected", "seconds"), [(10, no_ack(7), 7), (3, nothing(3), 3)]
)
async def test_a_call_that_finds_no_room_in_the_queue_times_out_and_is_never_sent(
    response_timeout: float, expected: Failure, seconds: float
) -> None:
    async with caller() as alice:
        await fill_queue(alice)
        call = alice.call(response_timeout=response_timeout)
        assert await call.failure() == expected
        assert call.seconds == exactly(seconds)
        assert alice.pending_calls == 0
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(alice.room.disconnect)
            assert await receive_requests(alice) == []


@pytest.mark.rule("C1", "C3")
async def test_the_time_that_a_call_waits_for_room_is_taken_off() -> None:
    async with caller() as alice:
        await fill_queue(alice)
        call = alice.call(response_timeout=6)
        await anyio.sleep(2)
        while (packet := await alice.server.expect_packet()).WhichOneof("value") == "user":
            pass
        assert packet.rpc_request.response_timeout_ms == 3_999
        alice.respond(packet.rpc_request.id, "hello")
        assert await call.outcome() == "hello"
