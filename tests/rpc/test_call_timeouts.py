"""The watcher of the deadlines of calls: rules C1, C2, C8 and C13 at the worst of moments."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial
from typing import Any

import anyio
import anyio.abc
import pytest
from attrs import define, evolve, field

from trio_rpc import Room, RpcError, RpcInvocationData, concurrency
from trio_rpc.concurrency import Backend
from trio_rpc.rpc.call_timeouts import CallTimeouts
from trio_rpc.rpc.calls import Calls
from trio_rpc.rpc.pending_call import PendingCall

from ..conftest import Join
from ..support.caller import Caller, caller
from ..support.chain import chain
from ..support.clients import Holding
from ..support.scripted_server import ScriptedServer
from ..support.stream_packets import peer, response_header, server_with
from ..support.waiting import wait_until
from .test_pending_call import make_call

pytestmark = pytest.mark.anyio

codes = RpcError.ErrorCode


def patient_server() -> ScriptedServer:
    """Return a server that may be silent for as long as a test lasts."""
    server = ScriptedServer()
    server.join.ping_timeout = 1_000_000
    return server


# The watcher alone


@define(eq=False)
class Watch:
    """Calls with deadlines, and the times at which they passed."""

    backend: Backend = field(factory=concurrency.current)
    pending: dict[str, PendingCall] = field(factory=dict[str, PendingCall])
    timeouts: CallTimeouts = field(init=False)
    passed: dict[str, float] = field(factory=dict[str, float])
    started: float = field(factory=anyio.current_time)

    def __attrs_post_init__(self) -> None:
        self.timeouts = CallTimeouts(self.backend, self.pending, self._time_out)

    def _time_out(self, call: PendingCall) -> None:
        del self.pending[call.request_id]
        self.passed[call.request_id] = anyio.current_time() - self.started

    def add(self, request_id: str, ack_after: float = 7.0) -> PendingCall:
        call = self.pending[request_id] = make_call()
        call.request_id = request_id
        call.ack_by = anyio.current_time() + ack_after
        call.respond_by = call.ack_by + 3
        self.timeouts.watch(call)
        return call


@pytest.mark.rule("C2")
async def test_an_ack_counts_until_its_time_is_over() -> None:
    watch = Watch()
    async with anyio.create_task_group() as task_group:
        in_time, late = watch.add("in time"), watch.add("late")
        task_group.start_soon(watch.timeouts.run)
        await anyio.sleep(6.9)
        assert watch.passed == {}
        in_time.is_acknowledged = True
        await anyio.sleep(1.1)
        assert watch.passed == {"late": pytest.approx(7)}
        late.is_acknowledged = True
        await anyio.sleep(3)
        assert watch.passed == {"late": pytest.approx(7), "in time": pytest.approx(10)}
        watch.timeouts.stop()


@pytest.mark.rule("C1", "C2")
@pytest.mark.parametrize("begins_first", [True, False])
async def test_calls_time_out_in_the_order_of_their_deadlines(begins_first: bool) -> None:
    watch = Watch()
    seconds = [5, 3, 9, 3, 1, 7, math.inf, 8]
    async with anyio.create_task_group() as task_group:
        if begins_first:
            task_group.start_soon(watch.timeouts.run)
            await anyio.wait_all_tasks_blocked()
        for number, each in enumerate(seconds):
            watch.add(f"{number} after {each}", each)
        if not begins_first:
            task_group.start_soon(watch.timeouts.run)
        await anyio.sleep(100)
        watch.timeouts.stop()
    expected = {f"{n} after {each}": each for n, each in enumerate(seconds) if each < 100}
    assert watch.passed == pytest.approx(expected)
    assert [*watch.passed.values()] == sorted(watch.passed.values())


@pytest.mark.rule("C2")
async def test_a_deadline_may_move_back_and_forth() -> None:
    watch = Watch()
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(watch.timeouts.run)
        call = watch.add("1", 7)
        # Suspended, for longer than the ack may take
        call.ack_by = call.respond_by = 1_000
        await anyio.sleep(50)
        assert watch.passed == {}
        for _ in range(3):
            call.ack_by = anyio.current_time() + 7
            watch.timeouts.watch(call)
            await anyio.sleep(5)
        await anyio.sleep(100)
        assert watch.passed == {"1": pytest.approx(67)}
        watch.timeouts.stop()


@pytest.mark.rule("C13")
@pytest.mark.parametrize("seconds", [7.0, math.inf])
async def test_calls_that_are_over_do_not_pile_up(seconds: float) -> None:
    watch = Watch()
    for number in range(1_000):
        watch.add(f"pending {number}", seconds)
    for number in range(20_000):
        watch.add(f"over {number}", seconds)
        del watch.pending[f"over {number}"]
    assert len(watch.timeouts._entries) < 2_100
    # An id that is used again and again has no more entries than other calls.
    for _ in range(20_000):
        watch.add("the same", seconds)
    assert len(watch.timeouts._entries) < 2_200


async def test_without_calls_the_watcher_sleeps() -> None:
    backend, sleeps = concurrency.current(), 0

    async def count() -> None:
        nonlocal sleeps
        sleeps += 1
        await backend.sleep_forever()

    watch = Watch(evolve(backend, sleep_forever=count))
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(watch.timeouts.run)
        for number in range(1_000):
            watch.add(str(number))
            await anyio.sleep(0.01)
            del watch.pending[str(number)]
        await anyio.sleep(10_000)
        # When it begins, when the first ack would be due, and when the last one would.
        assert sleeps == 3
        watch.timeouts.stop()


# In a room


async def call(room: Room, destination: str = "bob", **arguments: object) -> str:
    options: dict[str, object] = {"method": "greet", "payload": "hi"} | arguments
    perform = partial(room.local_participant.perform_rpc, destination_identity=destination)
    return await perform(**options)  # type: ignore[arg-type]


async def call_in_vain(room: Room) -> None:
    with pytest.raises(RpcError):
        await call(room)


@pytest.mark.rule("C2", "C13")
@pytest.mark.parametrize("acknowledged", [True, False])
@pytest.mark.parametrize("seconds", [2, 7, 10])
async def test_a_call_may_be_cancelled_after_its_ack_and_at_its_deadline(
    seconds: int, acknowledged: bool
) -> None:
    codes_raised: list[int] = []

    async def perform(room: Room) -> None:
        with anyio.move_on_after(seconds) as scope:
            try:
                await call(room)
            except RpcError as error:
                codes_raised.append(error.code)
        assert scope.cancelled_caught or codes_raised

    async with caller(patient_server()) as alice:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(perform, alice.room)
            request_id = (await alice.expect_request()).id
            if acknowledged:
                await anyio.sleep(1)
                alice.acknowledge(request_id)
        # At the very deadline, either of the two may come first.
        expected = codes.RESPONSE_TIMEOUT if acknowledged else codes.CONNECTION_TIMEOUT
        assert codes_raised in ([], [expected])
        assert len(codes_raised) <= seconds // (10 if acknowledged else 7)
        assert alice.pending_calls == 0
        next_call, request_id = await alice.start_call()
        alice.respond(request_id, "still there")
        assert await next_call.outcome() == "still there"


@pytest.mark.rule("C1", "C2")
async def test_an_acknowledged_call_in_a_handler_ends_in_time(join: Join) -> None:
    bob_room, carol_room = Room(), Room()
    seconds: list[float] = []

    @bob_room.register_rpc_method("greet")
    async def pass_on(data: RpcInvocationData) -> str:
        started = anyio.current_time()
        with pytest.raises(RpcError):
            await call(bob_room, "carol", response_timeout=3)
        seconds.append(anyio.current_time() - started)
        return "in time"

    @carol_room.register_rpc_method("greet")
    async def never(data: RpcInvocationData) -> str:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(4)
        raise AssertionError

    async with chain(join, bob_room, carol_room) as alice:
        assert await call(alice) == "in time"
        assert seconds == [pytest.approx(3, abs=0.01)]


class Unprintable(str):
    """The name of a method of which no error can tell."""

    __slots__ = ()

    def __repr__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.rule("B3", "C1")
@pytest.mark.parametrize(
    "arguments", [{"response_timeout": Fraction(1, 2)}, {"method": Unprintable("greet")}]
)
async def test_the_end_of_a_call_of_odd_arguments_concerns_that_call_alone(
    arguments: dict[str, Any],
) -> None:
    async with caller(patient_server()) as alice:
        failing = alice.call(**{"response_timeout": 1, **arguments})
        await alice.expect_request()
        other, request_id = await alice.start_call()
        error = await failing.outcome()
        assert isinstance(error, RpcError)
        assert error.code == codes.RESPONSE_TIMEOUT
        alice.respond(request_id, "hello")
        assert await other.outcome() == "hello"


@pytest.mark.rule("B4", "C5")
async def test_responses_that_come_right_after_the_deadline_are_held_by_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time_out, responses = Calls._time_out, list[int]()

    def time_out_and_receive(calls: Calls, call: PendingCall) -> None:
        """Let responses come in the same turn of the event loop, before the caller's."""
        time_out(calls, call)
        for number in range(5):
            calls.on_inline_response("bob", response_header(call.request_id, b"x" * 1_000))
            responses.append(number)

    monkeypatch.setattr(Calls, "_time_out", time_out_and_receive)
    async with caller(patient_server()) as alice:
        pending = alice.call(response_timeout=1)
        error = await pending.outcome()
        assert isinstance(error, RpcError)
        assert error.code == codes.RESPONSE_TIMEOUT
        assert len(responses) == 5
        assert alice.room.statistics().held_bytes == 0


@pytest.mark.rule("C8", "C13")
@pytest.mark.parametrize("seconds", [10.0, math.inf])
async def test_a_room_may_end_while_a_thousand_calls_wait(seconds: float) -> None:
    failures: list[int] = []

    async def fail(alice: Caller) -> None:
        try:
            await call(alice.room, response_timeout=seconds)
        except RpcError as error:
            failures.append(error.code)

    async with caller() as alice, anyio.create_task_group() as task_group:
        for _ in range(1_000):
            task_group.start_soon(fail, alice)
        await alice.settle()
        assert alice.pending_calls == 1_000
        await alice.room.disconnect()
        assert alice.pending_calls == 0
    assert failures == [codes.RECIPIENT_DISCONNECTED] * 1_000


@pytest.mark.rule("C1", "C2")
async def test_thousands_of_calls_with_different_deadlines_end_in_time() -> None:
    took: dict[float, float] = {}
    room = Room(max_round_trip_latency=math.inf)

    async def fail(seconds: float) -> None:
        started = anyio.current_time()
        with pytest.raises(RpcError):
            await call(room, response_timeout=seconds)
        took[seconds] = anyio.current_time() - started

    async with caller(patient_server(), room=room) as alice:
        forever = [alice.call(response_timeout=math.inf) for _ in range(2_000)]
        async with anyio.create_task_group() as task_group:
            for number in range(2_000):
                task_group.start_soon(fail, 1 + number * 997 % 2_000 / 100)
        assert alice.pending_calls == 2_000
        assert [*took] == sorted(took)
        assert [*took.values()] == pytest.approx([*took])
        assert not any(each.has_ended for each in forever)


@pytest.mark.rule("C1", "C2")
async def test_a_call_of_a_handlers_clean_up_ends_in_time(join: Join) -> None:
    """Nothing is received any more once the block is cancelled, but time goes on."""
    bob_room, failed_after = Room(), list[float]()

    @bob_room.register_rpc_method("greet")
    async def clean_up(data: RpcInvocationData) -> str:
        try:
            await anyio.sleep_forever()
        finally:
            started = anyio.current_time()
            with anyio.CancelScope(shield=True), pytest.raises(RpcError):
                await call(bob_room, "alice")
            failed_after.append(anyio.current_time() - started)
        raise AssertionError

    async def serve(*, task_status: anyio.abc.TaskStatus[anyio.CancelScope]) -> None:
        with anyio.CancelScope() as scope:
            async with join("bob", room=bob_room):
                task_status.started(scope)
                try:
                    await anyio.sleep_forever()
                finally:
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(20)

    async with join("alice") as alice, anyio.create_task_group() as task_group:
        scope = await task_group.start(serve)
        await alice.wait_for_participant("bob")
        await bob_room.wait_for_participant("alice")
        task_group.start_soon(call_in_vain, alice)
        await wait_until(lambda: bob_room.statistics().running_handlers)
        scope.cancel()
    assert failed_after == [pytest.approx(7)]


@pytest.mark.rule("C2")
async def test_an_acknowledged_request_may_take_longer_to_be_sent_than_an_ack_may() -> None:
    server = server_with(peer("bob", 2, ()))
    holding = Holding(server, lambda packet: not packet.HasField("stream_header"))
    room = Room(max_payload_bytes=100_000)
    async with caller(holding, room=room) as alice:  # type: ignore[arg-type]
        alice.server = server
        pending = alice.call("x" * 40_000)
        header = (await server.expect_packet()).stream_header
        request_id = header.attributes["lk.rpc_request_id"]
        alice.acknowledge(request_id)
        await anyio.sleep(9)
        assert not pending.has_ended
        holding.link.released.set()
        await alice.settle()
        alice.respond(request_id, "hello")
        assert await pending.outcome() == "hello"
        assert pending.seconds == pytest.approx(9)
