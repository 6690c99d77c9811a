"""Calls that are cancelled, on either side, at each step."""

from __future__ import annotations

import anyio
import pytest

from trio_rpc.events import DataReceived
from trio_rpc.server import RoomServer, ServerStatistics
from trio_rpc.server.rooms.room import DEFAULT_DEPARTURE_TIMEOUT

from ..conftest import Join
from ..support.waiting import wait_until
from .injection import Moment, Whose, cancel_at_each_step, every_moment
from .rooms import at_rest, call, echo, nobody_left, two_rooms

pytestmark = pytest.mark.anyio


@every_moment
@pytest.mark.rule("C13")
async def test_a_call_can_be_cancelled_at_each_step(
    join: Join, server: RoomServer, moment: Moment, whose: Whose
) -> None:
    async with two_rooms(join) as (alice, bob):

        async def check() -> None:
            assert alice.statistics().pending_calls == 0
            assert await call(alice, payload="still there") == "still there"
            await at_rest(alice, bob)

        async def subject() -> None:
            assert await call(alice) == "hi"

        hits = await cancel_at_each_step(subject, check, moment=moment, whose=whose)
        assert 2 <= hits < 150
    await anyio.sleep(DEFAULT_DEPARTURE_TIMEOUT)
    assert server.statistics() == ServerStatistics(rooms=0, participants=0)


@every_moment
@pytest.mark.real_time
@pytest.mark.rule("C13")
async def test_a_call_over_a_websocket_can_be_cancelled_at_each_step(
    join: Join, server: RoomServer, url: str, moment: Moment, whose: Whose
) -> None:
    async with two_rooms(join, url) as (alice, bob):

        async def check() -> None:
            assert alice.statistics().pending_calls == 0
            assert await call(alice, payload="still there") == "still there"
            await at_rest(alice, bob)

        async def subject() -> None:
            assert await call(alice) == "hi"

        assert await cancel_at_each_step(subject, check, moment=moment, whose=whose) >= 2
    await nobody_left(server)


@every_moment
@pytest.mark.rule("C13", "C9")
async def test_a_call_that_waits_for_room_in_the_queue_can_be_cancelled(
    join: Join, moment: Moment, whose: Whose
) -> None:
    async with two_rooms(join) as (alice, bob):

        async def subject() -> None:
            async with anyio.create_task_group() as task_group:
                for _ in range(100):
                    task_group.start_soon(alice.local_participant.publish_data, bytes(60_000))
                await call(alice)

        async def check() -> None:
            assert alice.statistics().pending_calls == 0
            assert await call(alice, payload="still there") == "still there"
            await at_rest(alice, bob)

        await cancel_at_each_step(subject, check, moment=moment, whose=whose, limit=20)


@every_moment
async def test_publishing_into_a_full_queue_can_be_cancelled(
    join: Join, moment: Moment, whose: Whose
) -> None:
    async with two_rooms(join) as (alice, bob):
        received: list[bytes] = []
        bob.on("data_received", lambda packet: received.append(packet.data))

        async def subject() -> None:
            for index in range(80):
                await alice.local_participant.publish_data(bytes([index]) * 60_000)

        async def check() -> None:
            # Once Bob has answered he has received what was published before.
            assert await call(alice) == "hi"
            assert {len(data) for data in received} <= {60_000}
            assert [data[0] for data in received] == [*range(len(received))]
            received.clear()

        await cancel_at_each_step(subject, check, moment=moment, whose=whose, limit=40)


@every_moment
async def test_a_change_of_metadata_can_be_cancelled_at_each_step(
    join: Join, server: RoomServer, moment: Moment, whose: Whose
) -> None:
    async with join("alice", can_update_own_metadata=True) as alice:
        changed = 0

        async def subject() -> None:
            nonlocal changed
            changed += 1
            await alice.local_participant.set_metadata(f"{changed}")

        async def check() -> None:
            await alice.local_participant.set_name(f"after {changed}")
            assert alice.local_participant.name == f"after {changed}"
            assert alice._session is not None
            assert not alice._session.outbound.server_requests._pending

        assert await cancel_at_each_step(subject, check, moment=moment, whose=whose) >= 2


@every_moment
async def test_reading_events_can_be_cancelled_at_each_step(
    join: Join, moment: Moment, whose: Whose
) -> None:
    async with two_rooms(join) as (alice, bob), bob.events(DataReceived) as events:
        published = 0
        received: list[str] = []

        async def subject() -> None:
            nonlocal published
            for _ in range(3):
                published += 1
                await alice.local_participant.publish_data(str(published))
            while len(received) < published:
                received.append((await anext(events)).data_packet.data.decode())

        async def check() -> None:
            assert received == [str(index + 1) for index in range(len(received))]

        await cancel_at_each_step(subject, check, moment=moment, whose=whose)
        assert len(received) == published


# Handlers


@every_moment
@pytest.mark.rule("A12", "A9")
async def test_a_handler_whose_participant_leaves_at_any_step_leaves_nothing_behind(
    join: Join, server: RoomServer, moment: Moment, whose: Whose
) -> None:
    async with join("alice") as alice:
        outcomes: list[str] = []

        async def be_called() -> None:
            async with join("bob") as bob:
                bob.register_rpc_method("echo", echo)
                await alice.wait_for_participant("bob")
                outcomes.append(await call(alice))

        async def check() -> None:
            await wait_until(lambda: "bob" not in alice.remote_participants)
            await at_rest(alice)
            assert server.statistics() == ServerStatistics(rooms=1, participants=1)

        await cancel_at_each_step(be_called, check, moment=moment, whose=whose)
        assert outcomes
