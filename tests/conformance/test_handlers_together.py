"""Rules A4, A12 and A13: handlers side by side, their bound, and their end when we leave."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import Room, RpcInvocationData

from ..support.callee import (
    METHOD,
    callee,
    expect_ack,
    expect_response,
    failure,
    leave,
    receive_last_packets,
    send_request,
)
from ..support.scripted_server import ScriptedServer

pytestmark = pytest.mark.anyio

DISCONNECTED = (
    1503,
    "Recipient disconnected",
    "the callee left the room before it had answered",
)


class Gate:
    """A handler that records the calls that have started, in order, and answers on demand."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self._open: dict[str, anyio.Event] = {}

    async def __call__(self, data: RpcInvocationData) -> str:
        self.started.append(data.request_id)
        event = self._open.setdefault(data.request_id, anyio.Event())
        try:
            await event.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(data.request_id)
            raise
        return data.payload

    def open(self, request_id: str) -> None:
        self._open[request_id].set()


async def send_acknowledged(
    server: ScriptedServer, *request_ids: str, timeout_ms: int = 5_000
) -> None:
    """Send requests one by one, each after the ack of the one before."""
    for request_id in request_ids:
        send_request(server, request_id, payload=f"for {request_id}", timeout_ms=timeout_ms)
        assert await expect_ack(server) == request_id


# Side by side


@pytest.mark.rule("A4")
async def test_handlers_run_at_the_same_time() -> None:
    gate = Gate()
    async with callee(gate) as (room, server):
        await send_acknowledged(server, "1", "2", "3")
        await anyio.wait_all_tasks_blocked()
        assert gate.started == ["1", "2", "3"]
        assert room.statistics().running_handlers == 3
        for request_id in ("2", "3", "1"):
            gate.open(request_id)
            response = await expect_response(server)
            assert response == models.RpcResponse(
                request_id=request_id, payload=f"for {request_id}"
            )
        assert room.statistics().running_handlers == 0


@pytest.mark.rule("A4")
async def test_requests_that_come_in_one_message_each_get_their_own_answer() -> None:
    async def handler(data: RpcInvocationData) -> str:
        return data.payload

    request_ids = [str(number) for number in range(50)]
    async with callee(handler) as (room, server):
        for request_id in request_ids:
            send_request(server, request_id, payload=f"for {request_id}")
        acknowledged: set[str] = set()
        answered: dict[str, str] = {}
        for _ in range(100):
            packet = await server.expect_packet()
            if packet.WhichOneof("value") == "rpc_ack":
                acknowledged.add(packet.rpc_ack.request_id)
            else:
                response = packet.rpc_response
                assert response.request_id in acknowledged
                assert response.request_id not in answered
                answered[response.request_id] = response.payload
        assert answered == {request_id: f"for {request_id}" for request_id in request_ids}
        assert await leave(room, server) == []


@pytest.mark.rule("A4")
async def test_the_receive_loop_does_not_wait_for_a_handler() -> None:
    async with callee(Gate()) as (room, server), room.events() as events:
        await send_acknowledged(server, "1")
        server.send_from("bob", user=models.UserPacket(payload=b"meanwhile"))
        event = await anext(events)
        assert event.name == "data_received"
        assert room.statistics().running_handlers == 1


@pytest.mark.rule("A4")
async def test_a_handler_may_call_another_participant() -> None:
    async def handler(data: RpcInvocationData) -> str:
        return await room.local_participant.perform_rpc(
            destination_identity=data.caller_identity, method="ask back", payload="why?"
        )

    async with callee(handler) as (room, server):
        await send_acknowledged(server, "1")
        request = (await server.expect_packet()).rpc_request
        assert (request.method, request.payload) == ("ask back", "why?")
        response = models.RpcResponse(request_id=request.id, payload="because")
        server.send_from("bob", rpc_response=response)
        assert (await expect_response(server)).payload == "because"


# The bound


@pytest.mark.rule("A13")
async def test_above_the_bound_the_oldest_runs_next() -> None:
    gate = Gate()
    async with callee(gate, max_concurrent_handlers=2) as (_, server):
        await send_acknowledged(server, "1", "2", "3", "4", "5")
        await anyio.wait_all_tasks_blocked()
        assert gate.started == ["1", "2"]
        for finished, started in [("2", "3"), ("1", "4"), ("4", "5")]:
            gate.open(finished)
            assert (await expect_response(server)).request_id == finished
            await anyio.wait_all_tasks_blocked()
            assert gate.started[-1] == started
        assert gate.started == ["1", "2", "3", "4", "5"]


@pytest.mark.rule("A5", "A13")
async def test_deadlines_run_while_handlers_wait_for_their_turn() -> None:
    gate = Gate()
    async with callee(gate, max_concurrent_handlers=1) as (_, server):
        started = anyio.current_time()
        await send_acknowledged(server, "1", timeout_ms=4_000)
        await send_acknowledged(server, "2", timeout_ms=2_000)
        await send_acknowledged(server, "3", timeout_ms=6_000)
        for request_id, seconds in [("2", 2), ("1", 4), ("3", 6)]:
            response = await expect_response(server)
            assert (response.request_id, failure(response)[0]) == (request_id, 1502)
            assert anyio.current_time() - started == pytest.approx(seconds)
        assert gate.started == ["1", "3"]
        assert gate.cancelled == ["1", "3"]


@pytest.mark.rule("A2", "A13")
async def test_refusals_need_no_turn() -> None:
    async with callee(Gate(), max_concurrent_handlers=1) as (_, server):
        await send_acknowledged(server, "running")
        send_request(server, "unknown", method="nonsense")
        assert await expect_ack(server) == "unknown"
        assert failure(await expect_response(server))[0] == 1400


@pytest.mark.rule("A13")
@pytest.mark.parametrize("bound", [0, -1])
def test_a_bound_below_1_is_refused(bound: int) -> None:
    with pytest.raises(ValueError, match=rf"^max_concurrent_handlers is at least 1, not {bound}$"):
        Room(max_concurrent_handlers=bound)


# Leaving


async def end_block(room: Room, scope: anyio.CancelScope) -> None:
    """Leave by the end of the block, which follows."""


async def disconnect(room: Room, scope: anyio.CancelScope) -> None:
    await room.disconnect()


async def cancel(room: Room, scope: anyio.CancelScope) -> None:
    scope.cancel()
    await anyio.sleep_forever()


@pytest.mark.rule("A12", "E2")
@pytest.mark.parametrize("way", [end_block, disconnect, cancel])
async def test_leaving_cancels_handlers_which_answer_1503(
    way: Callable[[Room, anyio.CancelScope], object],
) -> None:
    gate = Gate()
    room, server = Room(max_concurrent_handlers=2), ScriptedServer()
    room.register_rpc_method(METHOD, gate)
    last_packets: list[models.DataPacket] = []

    async def play_server(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        with anyio.CancelScope(shield=True):
            await send_acknowledged(server, "1", "2", "queueing")
            task_status.started()
            last_packets.extend(await receive_last_packets(server))

    async with anyio.create_task_group() as task_group:
        with anyio.CancelScope() as scope:
            async with room.connect(server, "a token", reconnect=None):
                await task_group.start(play_server)
                await anyio.wait_all_tasks_blocked()
                result = way(room, scope)
                assert result is not None
                await result  # type: ignore[misc]

    answers = {each.rpc_response.request_id: failure(each.rpc_response) for each in last_packets}
    assert answers == {"1": DISCONNECTED, "2": DISCONNECTED, "queueing": DISCONNECTED}
    assert len(last_packets) == 3
    assert sorted(gate.started) == sorted(gate.cancelled) == ["1", "2"]
    assert room.statistics().running_handlers == 0


@pytest.mark.rule("A12")
async def test_a_handler_that_leaves_the_room_is_cancelled_by_that() -> None:
    async def handler(data: RpcInvocationData) -> str:
        await room.disconnect()
        return "never"

    async with callee(handler) as (room, server):
        await send_acknowledged(server, "1")
        (packet,) = await receive_last_packets(server)
        assert failure(packet.rpc_response) == DISCONNECTED
        await room.wait_disconnected()


@pytest.mark.rule("A12")
async def test_handlers_still_answer_when_the_server_ends_our_session() -> None:
    gate = Gate()
    async with callee(gate, on_disconnect="continue") as (room, server):
        await send_acknowledged(server, "1")
        server.send_signal(leave=rtc.LeaveRequest(reason=models.SERVER_SHUTDOWN))
        assert failure(await expect_response(server)) == DISCONNECTED
        assert (await server.receive_rest())[0] == []
        assert gate.cancelled == ["1"]
        await room.wait_disconnected()


@pytest.mark.rule("A12")
async def test_handlers_are_cancelled_when_the_connection_is_lost() -> None:
    gate = Gate()
    async with callee(gate, on_disconnect="continue") as (room, server):
        await send_acknowledged(server, "1")
        await server.link.aclose()
        await room.wait_disconnected()
        assert gate.cancelled == ["1"]
        assert room.statistics().running_handlers == 0


@pytest.mark.rule("A13")
async def test_the_context_variables_of_a_handler_are_not_those_of_the_next() -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody's")
    seen: list[str] = []

    async def remember(data: RpcInvocationData) -> str:
        seen.append(tenant.get())
        tenant.set(data.caller_identity)
        await anyio.sleep(1)
        return data.payload

    async with callee(remember, max_concurrent_handlers=1) as (_, server):
        for number in range(3):
            send_request(server, str(number))
        answered = 0
        while answered < 3:
            answered += (await server.expect_packet()).HasField("rpc_response")
    assert seen == ["nobody's"] * 3
