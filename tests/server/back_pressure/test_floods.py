"""Back-pressure on the sender that fills another's queue, and on no other (B8)."""

from __future__ import annotations

import math
from collections.abc import Callable

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import Room
from trio_rpc.server import RoomServer

from ...conftest import Join
from ...support.messages import request, texts, told, updates, user
from ...support.scripted_client import scripted_client, scripted_clients
from ..reading import reading, send_all
from .queues import CONTENT, QUEUE, data, queued_for

pytestmark = [pytest.mark.anyio, pytest.mark.rule("B8")]


# Each kind of packet


def rpc_request(number: int) -> models.DataPacket:
    packet = request("slow", request_id=str(number))
    packet.rpc_request.payload = CONTENT
    return packet


def rpc_response(number: int) -> models.DataPacket:
    response = models.RpcResponse(request_id=str(number), payload=CONTENT)
    return models.DataPacket(destination_identities=["slow"], rpc_response=response)


def rpc_ack(number: int) -> models.DataPacket:
    ack = models.RpcAck(request_id=str(number).rjust(128, "0"))
    return models.DataPacket(destination_identities=["slow"], rpc_ack=ack)


def broadcast(number: int) -> models.DataPacket:
    return user(f"{number} {CONTENT}")


def cancellation(number: int) -> models.DataPacket:
    packet = user(str(number), "slow")
    packet.user.topic = "trio_rpc.cancel"
    return packet


def header(number: int) -> models.DataPacket:
    stream = models.DataStream.Header(stream_id=str(number), inline_content=CONTENT.encode())
    return models.DataPacket(destination_identities=["slow"], stream_header=stream)


def chunk(number: int) -> models.DataPacket:
    content = models.DataStream.Chunk(stream_id="s", chunk_index=number, content=CONTENT.encode())
    return models.DataPacket(destination_identities=["slow"], stream_chunk=content)


def transcription(number: int) -> models.DataPacket:
    segment = models.TranscriptionSegment(id=str(number), text=CONTENT)
    value = models.Transcription(segments=[segment])
    return models.DataPacket(destination_identities=["slow"], transcription=value)


@pytest.mark.parametrize(
    "make",
    [
        rpc_request,
        rpc_response,
        rpc_ack,
        data,
        broadcast,
        cancellation,
        header,
        chunk,
        transcription,
    ],
)
async def test_a_slow_reader_gets_all_of_a_flood_and_remains(
    server: RoomServer, make: Callable[[int], models.DataPacket]
) -> None:
    count = 5_000_000 // max(make(0).ByteSize(), 1_000)
    async with (
        scripted_clients(server, "flooder", "slow") as (flooder, slow),
        reading((flooder, 0), (slow, 0.5)) as (told, reader),
    ):
        started = anyio.current_time()
        await send_all(flooder, map(make, range(count)))
        received = await reader.wait_packets(count)
        assert reader.closed_because is told.closed_because is None
        kinds = {packet.WhichOneof("value") for packet in received}
        assert kinds == {make(0).WhichOneof("value")}
        assert len(received) == count
        if make(0).ByteSize() > 1_000:
            assert anyio.current_time() - started > 30


async def test_order_is_kept_whatever_has_to_wait(server: RoomServer) -> None:
    async with (
        scripted_clients(server, "flooder", "slow", "fast") as (flooder, slow, fast),
        reading((flooder, 0), (slow, 0.5), (fast, 0)) as (_, reader, fast_reader),
    ):
        count = 300
        await send_all(flooder, map(broadcast, range(count)))
        for each in (reader, fast_reader):
            received = texts(await each.wait_packets(count))
            assert [int(text.split()[0]) for text in received] == [*range(count)]


# Fairness


async def test_who_sends_little_goes_on_beside_a_flood(server: RoomServer) -> None:
    async with (
        scripted_clients(server, "flooder", "honest", "slow", "bob") as (
            flooder,
            honest,
            slow,
            bob,
        ),
        reading((flooder, 0), (slow, 1)) as (_, reader),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(send_all, flooder, map(rpc_request, range(1_000)))
        await anyio.sleep(5)
        assert queued_for(server, "slow") > QUEUE // 2
        for number in range(20):
            now = anyio.current_time()
            honest.send(user(f"{number}", "slow", "bob"))
            # The server reads from it at once, and a fast reader gets the packet at once.
            await honest.settle()
            assert texts(await bob.settle()) == [str(number)]
            assert anyio.current_time() == now
            await anyio.sleep(1)
        with anyio.fail_after(60):
            await reader.wait_until(lambda: len([text for text in reader.texts if text]) == 20)
        assert [text for text in reader.texts if text] == [str(each) for each in range(20)]
        assert reader.closed_because is None
        tasks.cancel_scope.cancel()


async def test_two_floods_get_the_same_share(server: RoomServer) -> None:
    async with (
        scripted_clients(server, "one", "two", "slow") as (one, two, slow),
        reading((one, 0), (two, 0), (slow, 0.5)) as (_, _, reader),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(send_all, one, map(data, range(2_000)))
        await anyio.sleep(5)
        tasks.start_soon(send_all, two, map(data, range(2_000)))
        await anyio.sleep(30)
        del reader.messages[:]
        await anyio.sleep(60)
        shares = [
            sum(packet.participant_identity == identity for packet in reader.packets)
            for identity in ("one", "two")
        ]
        assert min(shares) > 200
        assert max(shares) < 1.3 * min(shares)
        tasks.cancel_scope.cancel()


async def test_many_senders_that_fill_a_queue_lose_nothing_and_keep_their_order(
    server: RoomServer,
) -> None:
    senders = [f"sender {number}" for number in range(40)]
    async with (
        scripted_clients(server, "slow", *senders) as (slow, *members),
        reading((slow, 0.1), *((member, 0) for member in members)) as (reader, *_),
        anyio.create_task_group() as tasks,
    ):
        large = "x" * 60_000
        for member in members:
            bodies = [user(f"{number} {large}", "slow") for number in range(5)]
            tasks.start_soon(send_all, member, bodies)
        received = await reader.wait_packets(200)
        assert reader.closed_because is None
        for identity in senders:
            of_sender = [each for each in received if each.participant_identity == identity]
            numbers = [int(text.split()[0]) for text in texts(of_sender)]
            assert numbers == [*range(5)]


# Members that do not read


@pytest.mark.rule("V8")
async def test_a_member_that_reads_nothing_is_disconnected_and_the_sender_goes_on(
    server: RoomServer,
) -> None:
    async with (
        scripted_clients(server, "alice", "bob", "sloth") as (alice, bob, sloth),
        reading((alice, 0), (bob, 0), (sloth, math.inf)) as (_, reader, _),
        anyio.create_task_group() as tasks,
    ):
        started = anyio.current_time()
        tasks.start_soon(send_all, alice, map(broadcast, range(200)))
        received = texts(await reader.wait_packets(200))
        assert [int(text.split()[0]) for text in received] == [*range(200)]
        assert 20 <= anyio.current_time() - started <= 25.5
        assert [(each.identity, each.state) for each in updates(reader.messages)] == [
            ("sloth", models.ParticipantInfo.DISCONNECTED)
        ]
        _, why = await sloth.receive_rest()
        assert why == "it does not read: it took nothing for 20 s"


@pytest.mark.rule("V8")
async def test_a_member_that_reads_nothing_is_disconnected_however_little_is_queued(
    server: RoomServer,
) -> None:
    async with (
        scripted_clients(server, "alice", "sloth") as (alice, sloth),
        reading((alice, 0), (sloth, math.inf)) as (reader, _),
    ):
        # One message is on its way, another may be held by the link.
        for number in range(4):
            alice.send(user(str(number), "sloth"))
            await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(30):
            await reader.wait_updates(1)
        assert told(reader.messages) == [("sloth", "DISCONNECTED")]


async def test_who_floods_itself_with_answers_is_not_listened_to_before_it_reads(
    server: RoomServer,
) -> None:
    pings = (rtc.SignalRequest(ping_req=rtc.Ping(timestamp=each)) for each in range(200_000))
    async with (
        scripted_clients(server, "bob", "sloth") as (bob, sloth),
        reading((bob, 0)) as (reader,),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(send_all, sloth, pings)
        await anyio.sleep(1)
        assert QUEUE // 2 < queued_for(server, "sloth") < QUEUE * 3 // 4
        with anyio.fail_after(30):
            await reader.wait_updates(1)
        assert told(reader.messages) == [("sloth", "DISCONNECTED")]
        tasks.cancel_scope.cancel()


async def test_who_reads_its_own_answers_slowly_gets_all_of_them(server: RoomServer) -> None:
    calls = (request("nobody", request_id=str(number).rjust(128)) for number in range(2_000))
    async with (
        scripted_client(server, "alice") as alice,
        reading((alice, 0.5)) as (reader,),
    ):
        await send_all(alice, calls)
        # An ack and a response for each.
        assert len(await reader.wait_packets(4_000)) == 4_000
        assert reader.closed_because is None


# Both ways


async def test_two_that_send_to_each_other_at_full_speed_never_stop(
    server: RoomServer, join: Join
) -> None:
    received = {"alice": 0, "bob": 0}
    count = 200
    all_received = anyio.Event()

    async def exchange(room: Room, other: str) -> None:
        for _ in range(count):
            await room.local_participant.publish_data(bytes(50_000), destination_identities=[other])

    def count_data(identity: str) -> Room:
        room = Room()

        @room.on("data_received")
        def on_data(event: object) -> None:
            received[identity] += 1
            if set(received.values()) == {count}:
                all_received.set()

        return room

    async with (
        join("alice", room=count_data("alice")) as alice,
        join("bob", room=count_data("bob")) as bob,
        anyio.create_task_group() as tasks,
    ):
        await alice.wait_for_participant("bob")
        tasks.start_soon(exchange, alice, "bob")
        tasks.start_soon(exchange, bob, "alice")
        with anyio.fail_after(10):
            await all_received.wait()


async def test_a_ring_of_slow_readers_that_flood_each_other_never_stops(
    server: RoomServer,
) -> None:
    names = ["ann", "ben", "cat"]
    async with (
        scripted_clients(server, *names) as members,
        reading(*((member, 0.1) for member in members)) as readers,
        anyio.create_task_group() as tasks,
    ):
        for index, member in enumerate(members):
            to = names[(index + 1) % 3]
            tasks.start_soon(send_all, member, [user(CONTENT, to) for _ in range(500)])
        for reader in readers:
            assert len(await reader.wait_packets(500)) == 500
            assert reader.closed_because is None
