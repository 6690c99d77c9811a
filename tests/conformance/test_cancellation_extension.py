"""Cancellation that reaches the handler: our own extension, which other SDKs see nothing of.

A participant announces that it wants to know when a call of it was given up; its callers then say
so in a data packet of a topic of its own, and its handler is cancelled at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import anyio
import pytest
from attrs import define, field
from livekit.protocol import models

from trio_rpc import Room, RpcError, RpcInvocationData

from ..conftest import Join
from ..support.callee import callee, expect_ack, expect_response, failure, leave, send_request
from ..support.caller import Caller, caller
from ..support.chain import chain
from ..support.scripted_server import ScriptedServer
from ..support.stream_packets import (
    CANCELLATION,
    DEFLATE_RAW,
    expect_whole_stream,
    peer,
    request_header,
    send_header,
    server_with,
)

pytestmark = pytest.mark.anyio

TOPIC: Final = "trio_rpc.cancel"
GAVE_UP: Final = (1502, "Response timeout", "the caller gave up")
FOREVER: Final = 600_000
#: The limit of rooms whose calls may be streams although the callee is one of ours (N4).
LARGE: Final[dict[str, Any]] = {"max_payload_bytes": 20_000}


@define
class Handler:
    """A handler that never ends by itself, and records when it began and how long it ran."""

    began: anyio.Event = field(factory=anyio.Event)
    ended: anyio.Event = field(factory=anyio.Event)
    seconds: float = 0.0
    response_timeout: float = 0.0
    runs: int = 0

    async def __call__(self, data: RpcInvocationData) -> str:
        self.runs += 1
        self.response_timeout = data.response_timeout
        began_at = anyio.current_time()
        self.began.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.seconds = anyio.current_time() - began_at
            self.ended.set()
        raise AssertionError


def send_cancellation(server: ScriptedServer, request_id: str, sender: str = "bob") -> None:
    user = models.UserPacket(topic=TOPIC, payload=request_id.encode())
    server.send_from(sender, user=user)


async def call(room: Room, destination: str = "bob", **arguments: Any) -> str:
    arguments = {"method": "greet", "payload": "hi"} | arguments
    return await room.local_participant.perform_rpc(destination_identity=destination, **arguments)


async def call_and_cancel(room: Room, after: float, payload: str = "hi") -> None:
    """Call, and cancel that after so many seconds, which nobody knows beforehand."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(call, room, payload=payload))
        await anyio.sleep(after)
        tasks.cancel_scope.cancel()


# Both sides ours


@pytest.mark.rule("A5", "C13", "N1")
async def test_a_cancelled_call_cancels_its_handler_at_once(join: Join) -> None:
    handler, callee_room = Handler(), Room()
    callee_room.register_rpc_method("greet", handler)
    async with join("alice") as alice, join("bob", room=callee_room) as bob:
        await alice.wait_for_participant("bob")
        await call_and_cancel(alice, 2)
        assert alice.statistics().pending_calls == 0
        with anyio.fail_after(0.01):
            await handler.ended.wait()
        assert handler.seconds == pytest.approx(2)
        await anyio.wait_all_tasks_blocked()
        assert bob.statistics().running_handlers == 0
        assert alice.isconnected()


@pytest.mark.real_time
@pytest.mark.rule("A5", "C13")
async def test_a_cancelled_call_cancels_its_handler_over_websockets(join: Join, url: str) -> None:
    handler, callee_room = Handler(), Room()
    callee_room.register_rpc_method("greet", handler)
    async with join("alice", to=url) as alice, join("bob", to=url, room=callee_room):
        await alice.wait_for_participant("bob")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, alice)
            await handler.began.wait()
            tasks.cancel_scope.cancel()
        await handler.ended.wait()


@pytest.mark.rule("A5", "C1")
async def test_a_handler_ends_with_its_callers_deadline(join: Join) -> None:
    handler, callee_room = Handler(), Room()
    callee_room.register_rpc_method("greet", handler)
    async with join("alice") as alice, join("bob", room=callee_room):
        await alice.wait_for_participant("bob")
        with pytest.raises(RpcError) as caught:
            await call(alice, response_timeout=3)
        assert caught.value.code == RpcError.ErrorCode.RESPONSE_TIMEOUT
        assert handler.seconds == pytest.approx(3, abs=0.01)


@pytest.mark.rule("A13")
async def test_a_call_that_waits_for_its_turn_is_cancelled_too(join: Join) -> None:
    handler, callee_room = Handler(), Room(max_concurrent_handlers=1)
    callee_room.register_rpc_method("greet", handler)
    async with join("alice") as alice, join("bob", room=callee_room) as bob:
        await alice.wait_for_participant("bob")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, alice)
            await handler.began.wait()
            await call_and_cancel(alice, 1)
            await anyio.wait_all_tasks_blocked()
            assert bob.statistics().running_handlers == 1
            assert handler.runs == 1
            tasks.cancel_scope.cancel()


@pytest.mark.rule("S1")
async def test_neither_side_has_an_event_of_it(join: Join) -> None:
    handler, callee_room = Handler(), Room()
    callee_room.register_rpc_method("greet", handler)
    received: list[object] = []
    async with join("alice") as alice, join("bob", room=callee_room) as bob, join("carol") as carol:
        for room in (alice, bob, carol):
            room.on("data_received", received.append)
        await alice.wait_for_participant("bob")
        await call_and_cancel(alice, 1)
        await handler.ended.wait()
        await alice.local_participant.publish_data(b"last", topic="other")
        await anyio.wait_all_tasks_blocked()
    assert [packet.data for packet in received] == [b"last", b"last"]  # type: ignore[attr-defined]


# The caller


@asynccontextmanager
async def caller_of(*capabilities: int, client_protocol: int = 2) -> AsyncIterator[Caller]:
    server, room = server_with(peer("bob", client_protocol, capabilities)), Room(**LARGE)
    async with caller(server, room=room) as alice:
        yield alice


async def receive_request_id(alice: Caller, *, as_packet: bool) -> str:
    if as_packet:
        return (await alice.expect_request()).id
    stream = await expect_whole_stream(alice.server)
    return stream.attributes["lk.rpc_request_id"]


@pytest.mark.rule("C13", "P4")
@pytest.mark.parametrize(
    ("client_protocol", "size"), [(0, 100), (1, 100), (2, 100), (1, 20_000), (2, 20_000)]
)
@pytest.mark.parametrize("how", ["cancelled", "not acknowledged", "not answered"])
async def test_who_wants_to_know_is_told_once_which_call_was_given_up(
    client_protocol: int, size: int, how: str
) -> None:
    async with (
        caller_of(CANCELLATION, client_protocol=client_protocol) as alice,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(run_call, alice, how, size)
        request_id = await receive_request_id(alice, as_packet=size == 100)
        if how == "not answered":
            alice.acknowledge(request_id)
        packet = await alice.server.expect_packet()
        assert (packet.user.topic, packet.user.payload) == (TOPIC, request_id.encode())
        assert packet.destination_identities == ["bob"]
        assert packet.kind == models.DataPacket.RELIABLE
        await alice.server.settle(alice.room)
        assert await leave(alice.room, alice.server) == []


async def run_call(alice: Caller, how: str, size: int = 100) -> None:
    if how == "cancelled":
        await call_and_cancel(alice.room, 1, payload="x" * size)
        return
    with pytest.raises(RpcError) as caught:
        await call(alice.room, payload="x" * size, response_timeout=10)
    assert caught.value.code == (1501 if how == "not acknowledged" else 1502)


@pytest.mark.rule("C13", "N1")
@pytest.mark.parametrize("client_protocol", [0, 1, 2])
@pytest.mark.parametrize("capabilities", [(), (DEFLATE_RAW,), (CANCELLATION + 1,)])
async def test_who_has_not_announced_it_is_told_nothing(
    client_protocol: int, capabilities: tuple[int, ...]
) -> None:
    async with (
        caller_of(*capabilities, client_protocol=client_protocol) as alice,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(run_call, alice, "cancelled")
        await receive_request_id(alice, as_packet=client_protocol == 0)
        await anyio.sleep(2)
        assert alice.pending_calls == 0
        assert await leave(alice.room, alice.server) == []


@pytest.mark.rule("C5")
async def test_a_call_that_was_answered_is_not_given_up() -> None:
    async with caller_of(CANCELLATION) as alice:
        pending = alice.call()
        alice.respond(await receive_request_id(alice, as_packet=True), "hello")
        assert await pending.outcome() == "hello"
        assert await leave(alice.room, alice.server) == []


# The callee


@pytest.mark.rule("A5", "A9")
@pytest.mark.parametrize("as_stream", [False, True])
async def test_a_handler_whose_caller_gave_up_is_cancelled_and_answers_once(
    as_stream: bool,
) -> None:
    handler = Handler()
    async with callee(handler) as (room, server):
        if as_stream:
            send_header(server, request_header(timeout_ms=FOREVER))
        else:
            send_request(server, timeout_ms=FOREVER)
        assert await expect_ack(server) == "1"
        await handler.began.wait()
        send_cancellation(server, "1")
        send_cancellation(server, "1")
        assert failure(await expect_response(server)) == GAVE_UP
        assert handler.ended.is_set()
        assert room.statistics().running_handlers == 0
        send_cancellation(server, "1")
        await server.settle(room)
        assert await leave(room, server) == []


@pytest.mark.rule("C6")
@pytest.mark.parametrize(
    ("sender", "request_id"), [("mallory", "1"), ("bob", "2"), ("bob", ""), ("bob", "\udcff")]
)
async def test_nobody_else_can_give_up_a_call(sender: str, request_id: str) -> None:
    handler = Handler()
    async with callee(handler) as (room, server):
        send_request(server, timeout_ms=FOREVER)
        await expect_ack(server)
        await handler.began.wait()
        user = models.UserPacket(topic=TOPIC, payload=request_id.encode(errors="surrogateescape"))
        server.send_from(sender, user=user)
        await server.settle(room)
        await anyio.wait_all_tasks_blocked()
        assert not handler.ended.is_set()
        assert room.statistics().running_handlers == 1


@pytest.mark.rule("A5", "A9")
async def test_two_callers_may_use_the_same_id() -> None:
    handlers = [Handler(), Handler()]
    began: list[Handler] = []

    async def handle(data: RpcInvocationData) -> str:
        began.append(handlers[len(began)])
        return await began[-1](data)

    async with callee(handle) as (room, server):
        send_request(server, timeout_ms=FOREVER)
        await handlers[0].began.wait()
        request = models.RpcRequest(id="1", method="greet", response_timeout_ms=FOREVER, version=1)
        server.send_from("carol", rpc_request=request)
        await handlers[1].began.wait()
        send_cancellation(server, "1", sender="carol")
        await handlers[1].ended.wait()
        await server.settle(room)
        assert not handlers[0].ended.is_set()


@pytest.mark.rule("S6", "A9")
async def test_a_request_whose_body_is_still_coming_can_be_given_up() -> None:
    handler = Handler()
    async with callee(handler) as (_, server):
        send_header(server, request_header(content=None, timeout_ms=FOREVER))
        await expect_ack(server)
        send_cancellation(server, "1")
        assert failure(await expect_response(server)) == GAVE_UP
    assert handler.runs == 0


# Calls within handlers


@pytest.mark.rule("C3")
@pytest.mark.parametrize("client_protocol", [0, 2])
@pytest.mark.parametrize("capabilities", [(), (CANCELLATION,)])
@pytest.mark.parametrize("in_nursery", [False, True])
@pytest.mark.parametrize(
    ("inner_timeout", "expected_ms"), [(60.0, 2_999), (3.0, 2_999), (2.0, 1_999), (1e9, 2_999)]
)
async def test_a_call_in_a_handler_passes_on_at_most_what_is_left(
    client_protocol: int,
    capabilities: tuple[int, ...],
    in_nursery: bool,
    inner_timeout: float,
    expected_ms: int,
) -> None:
    room: Room

    async def handle(data: RpcInvocationData) -> str:
        await anyio.sleep(1)
        inner_call = partial(call, room, "carol", response_timeout=inner_timeout)
        if in_nursery:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(inner_call)
        return await inner_call()

    async with callee(handle) as (room, server):
        server.announce(peer("carol", client_protocol, capabilities))
        send_request(server, timeout_ms=4_000)
        await expect_ack(server)
        assert await wire_timeout_ms(server) == expected_ms


@pytest.mark.rule("C3")
@pytest.mark.parametrize("client_protocol", [0, 2])
async def test_a_call_in_any_cancel_scope_passes_on_at_most_what_is_left(
    client_protocol: int,
) -> None:
    async with caller(server_with(peer("bob", client_protocol))) as alice:
        with anyio.move_on_after(8), anyio.move_on_after(5) as scope, anyio.move_on_after(9):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, alice.room)
                assert await wire_timeout_ms(alice.server) == 4_999
        assert scope.cancelled_caught


@pytest.mark.rule("C3", "C13")
async def test_a_callee_that_understands_cancellation_hears_of_a_scope_when_it_ends() -> None:
    async with caller_of(CANCELLATION) as alice:
        with anyio.move_on_after(5) as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(call, alice.room, response_timeout=8))
                request = await alice.expect_request()
                assert request.response_timeout_ms == 7_999
        assert scope.cancelled_caught
        packet = await alice.server.expect_packet()
        assert (packet.user.topic, packet.user.payload) == (TOPIC, request.id.encode())


@pytest.mark.rule("C1", "C3", "C13")
async def test_a_scope_in_a_handler_ends_as_scopes_do_though_the_callee_gives_up_first(
    join: Join,
) -> None:
    handler, bob_room, carol_room = Handler(), Room(), Room()
    carol_room.register_rpc_method("greet", handler)

    @bob_room.register_rpc_method("greet")
    async def give_up(data: RpcInvocationData) -> str:
        with anyio.move_on_after(2) as scope:
            await call(bob_room, "carol")
        assert scope.cancelled_caught
        return f"given up after {handler.response_timeout:g} s"

    async with chain(join, bob_room, carol_room) as alice:
        assert await call(alice) == "given up after 1.999 s"


@pytest.mark.rule("C1", "C13")
async def test_a_scope_around_a_call_ends_as_scopes_do_though_the_callee_gives_up_first(
    join: Join,
) -> None:
    handler, bob_room = Handler(), Room()
    bob_room.register_rpc_method("greet", handler)
    async with join("alice") as alice, join("bob", room=bob_room):
        await alice.wait_for_participant("bob")
        with anyio.move_on_after(2) as scope:
            await call(alice)
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError), anyio.fail_after(2):
            await call(alice)
        assert alice.statistics().pending_calls == 0


async def wire_timeout_ms(server: ScriptedServer) -> int:
    packet = await server.expect_packet()
    if packet.HasField("rpc_request"):
        return packet.rpc_request.response_timeout_ms
    return int(packet.stream_header.attributes["lk.rpc_request_response_timeout_ms"])


@pytest.mark.rule("A5", "C13")
async def test_cancelling_a_call_cancels_the_calls_of_its_handler(join: Join) -> None:
    handler, bob_room, carol_room = Handler(), Room(), Room()
    carol_room.register_rpc_method("greet", handler)

    @bob_room.register_rpc_method("greet")
    async def pass_on(data: RpcInvocationData) -> str:
        return await call(bob_room, "carol", response_timeout=60)

    async with chain(join, bob_room, carol_room) as alice:
        await call_and_cancel(alice, 2)
        with anyio.fail_after(0.01):
            await handler.ended.wait()
        assert handler.seconds == pytest.approx(2)
        assert handler.response_timeout < 10
