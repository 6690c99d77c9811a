"""Changes, joins, and messages of the server's own for slow readers (B8)."""

from __future__ import annotations

import base64
import math

import anyio
import pytest
from livekit.protocol import rtc

from trio_rpc import AccessToken, QueueFullError, VideoGrants
from trio_rpc.server import RoomServer

from ...support.messages import texts, updates
from ...support.scripted_client import scripted_client, scripted_clients
from ...support.tokens import API_KEY, API_SECRET, ROOM
from ..reading import reading, send_all
from ..twirp.client import answer_to, ask
from .queues import CONTENT, QUEUE, data, queued_for

pytestmark = [pytest.mark.anyio, pytest.mark.rule("B8")]


# Changes and joins


async def test_a_flood_of_updates_is_slowed_and_readers_remain(server: RoomServer) -> None:
    requests = [
        rtc.SignalRequest(
            update_metadata=rtc.UpdateParticipantMetadata(metadata=f"{number} {CONTENT}")
        )
        for number in range(300)
    ]
    async with (
        scripted_client(server, "slow") as slow,
        scripted_client(server, "flooder", can_update_own_metadata=True) as flooder,
        reading((slow, 0.5), (flooder, 0)) as (reader, _),
    ):
        await send_all(flooder, requests)
        told = await reader.wait_updates(1 + 300)
        assert reader.closed_because is None
        numbers = [each.metadata.split()[0] for each in told if each.metadata]
        assert numbers == [str(number) for number in range(300)]


async def test_a_change_does_not_wait_for_a_member_that_is_leaving(server: RoomServer) -> None:
    change = rtc.UpdateParticipantMetadata(metadata=CONTENT)
    async with (
        scripted_client(server, "sloth") as sloth,
        scripted_client(server, "bob", can_update_own_metadata=True) as bob,
    ):
        while queued_for(server, "sloth") <= QUEUE * 7 // 8:
            server.send_data(ROOM, CONTENT.encode(), destination_identities=["sloth"])
            await anyio.wait_all_tasks_blocked()
        bob.send_signal(update_metadata=change)
        await anyio.wait_all_tasks_blocked()
        sloth.send_signal(leave=rtc.LeaveRequest())
        with anyio.fail_after(1):
            assert [each.metadata for each in updates(await bob.settle()) if each.metadata]


async def test_a_storm_of_joins_is_slowed_and_readers_remain(server: RoomServer) -> None:
    grants = VideoGrants(room_join=True, room=ROOM)
    async with scripted_client(server, "slow") as slow, reading((slow, 0.2)) as (reader,):
        for number in range(150):
            token = AccessToken(API_KEY, API_SECRET).with_grants(grants)
            token = token.with_identity(f"guest {number}").with_metadata(CONTENT)
            async with server.open_link(token.to_jwt(), rtc.JoinRequest()) as link:
                await link.receive()
        await reader.wait_updates(300)
        assert reader.closed_because is None


async def test_a_join_waits_only_briefly_for_members_that_are_behind(server: RoomServer) -> None:
    async with (
        scripted_clients(server, "flooder", "slow") as (flooder, slow),
        reading((flooder, 0), (slow, 3)),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(send_all, flooder, map(data, range(1_000)))
        await anyio.sleep(10)
        started = anyio.current_time()
        async with scripted_client(server, "carol"):
            assert anyio.current_time() - started <= 5
        tasks.cancel_scope.cancel()


# Packets and updates of the server's own


async def test_the_servers_own_data_waits_for_slow_readers(server: RoomServer) -> None:
    async with scripted_client(server, "slow") as slow, reading((slow, 0.5)) as (reader,):
        for number in range(300):
            data = f"{number} {CONTENT}".encode()
            await answer_to(
                server, "SendData", data=base64.b64encode(data).decode(), kind="RELIABLE"
            )
        received = texts(await reader.wait_packets(300))
        assert [int(text.split()[0]) for text in received] == [*range(300)]
        assert reader.closed_because is None


async def test_the_servers_own_changes_wait_for_slow_readers(server: RoomServer) -> None:
    async with scripted_client(server, "slow") as slow, reading((slow, 0.5)) as (reader,):
        for number in range(150):
            await answer_to(server, "UpdateRoomMetadata", metadata=f"{number} {CONTENT}")
            await answer_to(
                server, "UpdateParticipant", identity="slow", metadata=f"{number} {CONTENT}"
            )
        await reader.wait_updates(150)
        assert reader.closed_because is None


async def test_a_program_is_told_that_data_has_no_room_and_nobody_gets_it(
    server: RoomServer,
) -> None:
    async with (
        scripted_clients(server, "bob", "sloth") as (bob, sloth),
        reading((bob, 0), (sloth, math.inf)) as (reader, _),
    ):
        sent = 0
        while queued_for(server, "sloth") <= QUEUE * 7 // 8:
            server.send_data(ROOM, CONTENT.encode())
            sent += 1
            await anyio.wait_all_tasks_blocked()
        with pytest.raises(QueueFullError, match=r"^the queue of 'sloth' is full"):
            server.send_data(ROOM, CONTENT.encode())
        with pytest.raises(QueueFullError):
            server.update_room_metadata(ROOM, CONTENT)
        with pytest.raises(QueueFullError):
            server.update_participant(ROOM, "bob", metadata=CONTENT)
        await anyio.wait_all_tasks_blocked()
        assert len(reader.texts) == sent > 20
        assert updates(reader.messages) == []
        assert server.get_participant(ROOM, "bob").metadata == ""
        # What may be lost is lost, as ever.
        server.send_data(ROOM, b"lossy", reliable=False)
        await reader.wait_packets(sent + 1)
        assert reader.texts[-1] == "lossy"


async def test_an_administrator_gets_an_error_when_a_member_stays_behind(
    server: RoomServer,
) -> None:
    answers: list[int] = []

    async def ask_for_data() -> None:
        request = {"room": ROOM, "data": base64.b64encode(bytes(60_000)).decode()}
        status, answer = await ask(server, "SendData", request | {"kind": "RELIABLE"})
        answers.append(status)
        if status != 200:
            assert (status, answer["code"]) == (429, "resource_exhausted")
            assert answer["msg"] == "the queue of 'slow' is full: it does not read"

    async with scripted_client(server, "slow") as slow, reading((slow, 10)) as (reader,):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask_for_data)
        assert set(answers) == {200, 429}
        await reader.wait_packets(answers.count(200))
        assert reader.closed_because is None
