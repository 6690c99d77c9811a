"""Bulk data through the server: who is slow slows its sender down, and nobody else (V8)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import ByteStreamReader, DisconnectReason, Room, RpcInvocationData
from trio_rpc.server import RoomServer, ServerLimits

from ..conftest import Join
from ..support.scripted_client import ScriptedClient, scripted_client
from ..support.tokens import API_KEYS

pytestmark = pytest.mark.anyio

PIECE = bytes(60_000)
QUEUE = 256 * 1024
#: What may be between a sender and a receiver who takes nothing: the server's queue for the
#: receiver, and on both links the messages in flight and the sender's own queue.
IN_BETWEEN = QUEUE + 2 * 18 * 64 * 1024 + 4 * 1024 * 1024


@pytest.fixture
def server() -> RoomServer:
    return RoomServer(API_KEYS, ServerLimits(max_queue_bytes=QUEUE))


@asynccontextmanager
async def bob_who(server: RoomServer) -> AsyncIterator[ScriptedClient]:
    """Bob, who pings, and takes from his link what the test takes."""
    async with scripted_client(server, "bob") as bob, anyio.create_task_group() as tasks:
        tasks.start_soon(bob.keep_alive)
        yield bob
        tasks.cancel_scope.cancel()


async def send_pieces(alice: Room, count: int, *destinations: str) -> None:
    bulk = alice.local_participant.stream_bytes(
        "bulk", topic="bulk", destination_identities=destinations
    )
    async with bulk as writer:
        for _ in range(count):
            await writer.write(PIECE)


async def greet(data: RpcInvocationData) -> str:
    return "hello"


@pytest.mark.rule("V8", "S6")
async def test_no_one_is_disconnected_while_a_receiver_reads_slowly(
    join: Join, server: RoomServer
) -> None:
    count = 250
    async with join("alice") as alice, bob_who(server) as bob, anyio.create_task_group() as tasks:
        await alice.wait_for_participant("bob")
        tasks.start_soon(send_pieces, alice, count, "bob")
        started = anyio.current_time()
        received = 0
        packet = models.DataPacket()
        while not packet.HasField("stream_trailer"):
            await anyio.sleep(1)
            for message in await bob.receive_batch():
                if isinstance(message, models.DataPacket):
                    packet = message
                    received += len(packet.stream_chunk.content)
        assert received == count * len(PIECE)
        assert packet.stream_trailer.reason == ""
        # Much longer than it may be silent in either direction.
        assert anyio.current_time() - started > 100
        assert alice.isconnected()
        assert "bob" in alice.remote_participants


@pytest.mark.rule("V8")
async def test_a_sender_of_bulk_data_waits_for_its_receiver(join: Join, server: RoomServer) -> None:
    sent = 0

    async def send(alice: Room) -> None:
        nonlocal sent
        async with alice.local_participant.stream_bytes("bulk", topic="bulk") as writer:
            while True:
                await writer.write(PIECE)
                sent += len(PIECE)

    async with join("alice") as alice, bob_who(server), anyio.create_task_group() as tasks:
        await alice.wait_for_participant("bob")
        tasks.start_soon(send, alice)
        await anyio.sleep(4)
        assert QUEUE < sent < IN_BETWEEN
        assert "bob" in alice.remote_participants
        tasks.cancel_scope.cancel()


@pytest.mark.rule("V8")
async def test_a_member_that_reads_nothing_for_the_read_timeout_is_disconnected_alone(
    join: Join, server: RoomServer
) -> None:
    callee = Room()
    callee.register_rpc_method("greet", greet)
    async with (
        join("alice") as alice,
        join("carol") as carol,
        join("dave", room=callee),
        bob_who(server) as bob,
        anyio.create_task_group() as tasks,
    ):
        await alice.wait_for_participant("bob")
        await carol.wait_for_participant("dave")
        tasks.start_soon(send_pieces, alice, 300, "bob")
        started = anyio.current_time()
        while "bob" in carol.remote_participants:
            answer = await carol.local_participant.perform_rpc(
                destination_identity="dave", method="greet", payload="", response_timeout=0.1
            )
            assert answer == "hello"
            await anyio.sleep(0.25)
        # Whether it takes anything is looked at every five seconds.
        assert 20 <= anyio.current_time() - started <= 25.5
        _, why = await bob.receive_rest()
        assert why == "it does not read: it took nothing for 20 s"


@pytest.mark.rule("V8")
async def test_a_broadcast_goes_on_without_a_receiver_that_reads_nothing(
    join: Join, server: RoomServer
) -> None:
    received = anyio.Event()
    sizes: list[int] = []

    async def count(reader: ByteStreamReader, sender: str) -> None:
        sizes.extend([len(piece) async for piece in reader])
        received.set()

    carol_room = Room()
    carol_room.register_byte_stream_handler("bulk", count)
    async with (
        join("alice") as alice,
        join("carol", room=carol_room),
        bob_who(server),
        anyio.create_task_group() as tasks,
    ):
        await alice.wait_for_participant("bob")
        await alice.wait_for_participant("carol")
        tasks.start_soon(send_pieces, alice, 300)
        with anyio.fail_after(30):
            await received.wait()
        assert sum(sizes) == 300 * len(PIECE)
        assert set(alice.remote_participants) == {"carol"}


@pytest.mark.rule("V8")
async def test_several_that_read_nothing_are_disconnected_at_the_same_time(
    join: Join, server: RoomServer
) -> None:
    async with (
        join("alice") as alice,
        bob_who(server),
        scripted_client(server, "erin") as erin,
        scripted_client(server, "frank") as frank,
        scripted_client(server, "grace") as grace,
        anyio.create_task_group() as tasks,
    ):
        for participant in (erin, frank, grace):
            tasks.start_soon(participant.keep_alive)
        await alice.wait_for_participant("grace")
        started = anyio.current_time()
        await send_pieces(alice, 300)
        await anyio.sleep(1)
        assert anyio.current_time() - started <= 26
        assert alice.isconnected()
        assert set(alice.remote_participants) == set()
        tasks.cancel_scope.cancel()


@pytest.mark.rule("V8")
async def test_a_receiver_that_leaves_with_much_unread_holds_up_nobody(join: Join) -> None:
    server = RoomServer(API_KEYS, ServerLimits(max_queue_bytes=8 * QUEUE))
    async with (
        join("alice", to=server) as alice,
        join("carol", to=server) as carol,
        join("dave", to=server) as dave,
        bob_who(server) as bob,
        anyio.create_task_group() as tasks,
    ):
        for sender in (alice, carol, dave):
            await sender.wait_for_participant("bob")
            tasks.start_soon(send_pieces, sender, 300, "bob")
        await anyio.sleep(1)
        bob.send_signal(leave=rtc.LeaveRequest())
        await anyio.wait_all_tasks_blocked()
        # Now part of the queue is read, while the server sends its final responses.
        await bob.receive_batch()
        await anyio.sleep(3)
        assert "bob" not in alice.remote_participants


@pytest.mark.rule("S6", "V8")
async def test_a_sender_that_is_removed_while_it_waits_is_told(
    join: Join, server: RoomServer
) -> None:
    async with (
        join("alice", on_disconnect="continue") as alice,
        bob_who(server),
        anyio.create_task_group() as tasks,
    ):
        await alice.wait_for_participant("bob")
        errors: list[str] = []

        async def send() -> None:
            try:
                await send_pieces(alice, 300, "bob")
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}")

        tasks.start_soon(send)
        await anyio.sleep(1)
        server.remove_participant("the room", "alice")
        assert await alice.wait_disconnected() is DisconnectReason.PARTICIPANT_REMOVED
        await anyio.wait_all_tasks_blocked()
        assert len(errors) == 1
        assert errors[0].startswith("StreamError: not sent: ")
