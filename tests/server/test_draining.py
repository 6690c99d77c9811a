"""A server that is drained: its participants join again, after what is in flight (rule L10)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import httpx
import pytest
from livekit.protocol import models, rtc

from trio_rpc import ConnectError, DisconnectReason, RpcError, RpcInvocationData
from trio_rpc.errors import QueueFullError
from trio_rpc.protocol.capabilities import CAN_RESUME
from trio_rpc.server import RoomServer, ServerLimits, ServerStatistics, create_app

from ..conftest import Join
from ..support.messages import Message, leave_reasons, packets, request, signals, texts, told, user
from ..support.scripted_client import ScriptedClient, scripted_client
from ..support.serving import serving, serving_stream
from ..support.tokens import API_KEYS, ROOM, make_token

pytestmark = pytest.mark.anyio

CLIENT = models.ClientInfo(client_protocol=2, capabilities=[CAN_RESUME])  # type: ignore[list-item]


async def timed(function: Callable[[], Awaitable[None]]) -> float:
    """Return the seconds that a call takes."""
    start = anyio.current_time()
    await function()
    return anyio.current_time() - start


async def fill(server: RoomServer, identity: str) -> None:
    """Fill the queue of a participant that does not read."""
    with suppress(QueueFullError):
        while True:
            server.send_data(ROOM, b"x" * 1_000, destination_identities=[identity])
            await anyio.wait_all_tasks_blocked()


def leave_of(messages: list[Message]) -> rtc.LeaveRequest:
    """Return the `LeaveRequest`, which must be the last message, and the only one of its kind."""
    assert leave_reasons(messages) == ["SERVER_SHUTDOWN"]
    return signals(messages[-1:])[0].leave


@pytest.mark.rule("L10")
async def test_everybody_is_asked_to_join_again_and_nobody_hears_of_departures(
    server: RoomServer,
) -> None:
    async with (
        scripted_client(server, "alice") as alice,
        scripted_client(server, "bob", client=CLIENT) as bob,
        scripted_client(server, "carol", room="other") as carol,
    ):
        for member in (alice, bob, carol):
            await member.settle()
        assert await timed(server.drain) == pytest.approx(0)
        assert server.statistics() == ServerStatistics(rooms=0, participants=0)
        for member in (alice, bob, carol):
            messages, why = await member.receive_rest()
            leave = leave_of(messages)
            assert (leave.action, leave.can_reconnect) == (rtc.LeaveRequest.RECONNECT, True)
            assert told(messages) == []
            assert why.endswith("the server shuts down")


@pytest.mark.rule("L10")
async def test_what_is_queued_comes_before_the_request_to_join_again(server: RoomServer) -> None:
    async with (
        scripted_client(server, "alice") as alice,
        scripted_client(server, "bob") as bob,
        anyio.create_task_group() as task_group,
    ):
        await alice.settle()
        for number in range(100):
            alice.send(user(f"{number} ".ljust(5_000, "x"), "bob"))
        await alice.settle()
        task_group.start_soon(server.drain)
        await anyio.wait_all_tasks_blocked()
        assert leave_reasons((await alice.receive_rest())[0]) == ["SERVER_SHUTDOWN"]
        await anyio.sleep(9)
        # Only now bob reads.
        messages, _ = await bob.receive_rest()
        assert [int(text.split()[0]) for text in texts(messages)] == [*range(100)]
        leave_of(messages)


@pytest.mark.rule("L10")
async def test_a_call_in_flight_gets_its_answer_and_its_room_stays_until_then(
    server: RoomServer,
) -> None:
    async with (
        scripted_client(server, "alice") as alice,
        scripted_client(server, "bob") as bob,
        scripted_client(server, "carol") as carol,
        scripted_client(server, "dave", room="other") as dave,
        anyio.create_task_group() as task_group,
    ):
        alice.send(request("bob"))
        await alice.settle()
        task_group.start_soon(server.drain)
        leave_of((await dave.receive_rest())[0])
        await anyio.sleep(5)
        assert leave_reasons(await carol.settle()) == []
        bob.acknowledge("1")
        bob.respond("1", "late")
        messages, _ = await alice.receive_rest()
        (_, response) = packets(messages)
        assert response.rpc_response.payload == "late"
        leave_of(messages)
        leave_of((await carol.receive_rest())[0])
        leave_of((await bob.receive_rest())[0])


@pytest.mark.rule("L10", "L8")
@pytest.mark.parametrize(
    ("caller", "callee", "expected"),
    [(CLIENT, CLIENT, 0), (CLIENT, None, 10), (None, CLIENT, 10)],
    ids=["both", "caller", "callee"],
)
async def test_a_call_that_outlives_the_sessions_of_both_is_not_waited_for(
    caller: models.ClientInfo | None,
    callee: models.ClientInfo | None,
    expected: float,
    server: RoomServer,
) -> None:
    async with (
        scripted_client(server, "alice", client=caller) as alice,
        scripted_client(server, "bob", client=callee),
    ):
        alice.send(request("bob"))
        await alice.settle()
        assert await timed(server.drain) == pytest.approx(expected, abs=0.05)
        leave_of((await alice.receive_rest())[0])


@pytest.mark.rule("L10")
@pytest.mark.parametrize(("limit", "expected"), [(20, 10), (3, 1.5), (0, 0)])
async def test_a_call_that_takes_long_has_half_of_the_time(
    limit: float, expected: float, server: RoomServer
) -> None:
    async with scripted_client(server, "alice") as alice, scripted_client(server, "bob"):
        alice.send(request("bob"))
        await alice.settle()
        assert await timed(lambda: server.drain(limit)) == pytest.approx(expected, abs=0.05)
        leave_of((await alice.receive_rest())[0])


@pytest.mark.rule("L10")
async def test_a_request_that_was_dropped_is_not_waited_for() -> None:
    server = RoomServer(API_KEYS, ServerLimits(max_queue_bytes=50_000))
    async with (
        scripted_client(server, "alice") as alice,
        scripted_client(server, "bob") as bob,
        anyio.create_task_group() as task_group,
    ):
        await fill(server, "bob")
        alice.send(request("bob"))
        (_, response) = packets(await alice.settle())
        assert response.rpc_response.error.code == RpcError.ErrorCode.SEND_FAILED
        task_group.start_soon(server.drain)
        await anyio.wait_all_tasks_blocked()
        leave_of((await alice.receive_rest())[0])
        await bob.receive_rest()


@pytest.mark.rule("L10")
async def test_a_participant_that_does_not_read_holds_it_up_until_its_time_is_over() -> None:
    server = RoomServer(API_KEYS, ServerLimits(max_queue_bytes=50_000))
    async with scripted_client(server, "alice") as alice, scripted_client(server, "bob") as bob:
        await fill(server, "bob")
        # Closing takes two seconds for the queue, and as many for the link.
        assert 7 <= round(await timed(lambda: server.drain(7)), 6) <= 11.1
        assert server.statistics().participants == 0
        leave_of((await alice.receive_rest())[0])
        await bob.receive_rest()


@pytest.mark.rule("L10", "L6")
async def test_a_participant_without_a_connection_is_gone_at_once_and_resumes_nothing(
    server: RoomServer,
) -> None:
    async with (
        scripted_client(server, "alice", client=CLIENT) as alice,
        scripted_client(server, "bob", client=CLIENT) as bob,
        scripted_client(server, "carol") as carol,
        anyio.create_task_group() as task_group,
    ):
        await bob.link.aclose()
        carol.send(request("alice"))
        await carol.settle()
        task_group.start_soon(server.drain)
        # While the call is in flight:
        await anyio.sleep(1)
        again = rtc.JoinRequest(client_info=CLIENT, reconnect=True, participant_sid=bob.sid)
        with pytest.raises(ConnectError, match="the server shuts down") as caught:
            async with server.open_link(make_token("bob"), again):
                raise AssertionError
        assert caught.value.status == 503
        # One that loses its connection now is not waited for either.
        await alice.link.aclose()
        messages, _ = await carol.receive_rest()
        assert ("alice", "DISCONNECTED") in told(messages)
        leave_of(messages)


@pytest.mark.rule("L10")
async def test_a_participant_between_its_request_and_the_room_is_rejected() -> None:
    server = RoomServer(API_KEYS, ServerLimits(max_queue_bytes=50_000))
    async with (
        scripted_client(server, "bob") as bob,
        anyio.create_task_group() as task_group,
    ):
        await fill(server, "bob")
        async with server.open_link(make_token("carol"), rtc.JoinRequest()) as link:
            # carol waits for bob's queue.
            await anyio.wait_all_tasks_blocked()
            task_group.start_soon(server.drain)
            messages, why = await ScriptedClient("carol", link, rtc.JoinResponse()).receive_rest()
            assert messages == []
            assert why.endswith("the server shuts down")
        await bob.receive_rest()


@pytest.mark.rule("L10")
async def test_a_drained_server_says_so_to_load_balancers_and_over_http(
    server: RoomServer,
) -> None:
    await server.drain()
    transport = httpx.ASGITransport(app=create_app(server))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/")).status_code == 503
        response = await client.get("/rtc/validate", params={"access_token": make_token("bob")})
        assert (response.status_code, response.text) == (503, "the server shuts down")


@pytest.mark.real_time
@pytest.mark.rule("L10")
@pytest.mark.parametrize("listener", [serving, serving_stream], ids=["WebSocket", "TCP"])
async def test_over_sockets_calls_in_flight_end_and_nobody_joins_or_resumes(
    listener: Callable[..., Any], server: RoomServer, join: Join
) -> None:
    async with (
        listener(server) as url,
        join("alice", to=url, reconnect=None, on_disconnect="continue") as alice,
        join("bob", to=url, reconnect=None, on_disconnect="continue") as bob,
        anyio.create_task_group() as task_group,
    ):
        called, finish = anyio.Event(), anyio.Event()

        @bob.register_rpc_method("wait")
        async def wait(_data: RpcInvocationData) -> str:
            called.set()
            await finish.wait()
            return "done"

        async def drain() -> None:
            await called.wait()
            task_group.start_soon(server.drain)
            with pytest.raises(ConnectError) as caught:
                async with join("carol", to=url):
                    raise AssertionError
            assert caught.value.status == 503
            assert "the server shuts down" in str(caught.value)
            finish.set()

        await alice.wait_for_participant("bob")
        task_group.start_soon(drain)
        answer = await alice.local_participant.perform_rpc(
            destination_identity="bob", method="wait", payload=""
        )
        assert answer == "done"
        for room in (alice, bob):
            assert await room.wait_disconnected() is DisconnectReason.SERVER_SHUTDOWN
