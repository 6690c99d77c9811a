"""200 participants in one room, each of whom calls 20 others at once."""

from __future__ import annotations

import gc
from typing import Any

import anyio
import pytest
from anyio.abc import TaskStatus

from trio_rpc import Room, RoomStatistics, RpcInvocationData
from trio_rpc.server import RoomServer, ServerLimits, ServerStatistics

from ..cancellation.injection import living_tasks
from ..conftest import Join
from ..support.tokens import API_KEYS
from ..support.waiting import wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]

PARTICIPANTS = 200
CALLS = 20
#: Seconds that nothing takes, on a machine with twenty times as much to do as it can.
PATIENCE = 600


def identity(number: int) -> str:
    return f"participant {number % PARTICIPANTS}"


async def answer(data: RpcInvocationData) -> str:
    await anyio.lowlevel.checkpoint()
    return f"{data.caller_identity} asked {data.payload}"


async def call_others(room: Room, number: int) -> int:
    """Call the next 20 participants at once; returns how many gave the answer to their question."""
    own_answers = 0

    async def call(other: int) -> None:
        nonlocal own_answers
        question = f"{number} to {other}"
        result = await room.local_participant.perform_rpc(
            destination_identity=identity(other),
            method="answer",
            payload=question,
            response_timeout=PATIENCE,
        )
        own_answers += result == f"{identity(number)} asked {question}"

    async with anyio.create_task_group() as task_group:
        for other in range(number + 1, number + 1 + CALLS):
            task_group.start_soon(call, other)
    return own_answers


@pytest.fixture
def server() -> RoomServer:
    """A server that is patient: on a busy machine, a task may not run for many seconds."""
    return RoomServer(API_KEYS, ServerLimits(ping_timeout=PATIENCE))


async def everybody_known(room: Room) -> None:
    await wait_until(lambda: len(room.remote_participants) == PARTICIPANTS - 1, within=PATIENCE)


async def everybody_calls(join: Join, server: RoomServer, to: Any) -> None:
    own_answers: list[int] = []
    all_have_joined, all_know_all, all_have_called = anyio.Event(), anyio.Event(), anyio.Event()
    knowing: list[Room] = []

    async def participate(number: int, *, task_status: TaskStatus[None]) -> None:
        room = Room(max_round_trip_latency=PATIENCE)
        room.register_rpc_method("answer", answer)
        async with join(identity(number), room=room, to=to):
            task_status.started()
            await all_have_joined.wait()
            await everybody_known(room)
            knowing.append(room)
            if len(knowing) == PARTICIPANTS:
                assert server.statistics() == ServerStatistics(rooms=1, participants=PARTICIPANTS)
                all_know_all.set()
            await all_know_all.wait()
            own_answers.append(await call_others(room, number))
            if len(own_answers) == PARTICIPANTS:
                all_have_called.set()
            await all_have_called.wait()
            assert room.statistics() == RoomStatistics(0, 0)

    async with anyio.create_task_group() as task_group:
        for number in range(PARTICIPANTS):
            await task_group.start(participate, number)
        all_have_joined.set()
    assert own_answers == [CALLS] * PARTICIPANTS
    await wait_until(lambda: server.statistics() == ServerStatistics(rooms=1, participants=0))


async def everybody_calls_and_nothing_is_left(join: Join, server: RoomServer, to: Any) -> None:
    await anyio.wait_all_tasks_blocked()
    tasks_before = living_tasks()
    await everybody_calls(join, server, to)
    await wait_until(lambda: not living_tasks() - tasks_before)
    gc.collect()  # whatever was not closed warns, and warnings are errors


@pytest.mark.rule("C5", "A4", "V2")
async def test_200_participants_call_20_others_each_in_memory(
    join: Join, server: RoomServer
) -> None:
    await everybody_calls_and_nothing_is_left(join, server, server)


@pytest.mark.real_time
@pytest.mark.rule("C5", "A4", "V2")
async def test_200_participants_call_20_others_each_over_websockets(
    join: Join, server: RoomServer, url: str
) -> None:
    await everybody_calls_and_nothing_is_left(join, server, url)
