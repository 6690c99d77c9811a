"""Who calls and does not read: those who answer it are not held up for it (B8)."""

from __future__ import annotations

import anyio
import pytest
from livekit.protocol import models

from trio_rpc.server import RoomServer, ServerLimits

from ..conftest import Join
from ..support.tokens import API_KEYS
from .raw import RawMember, join_all, join_raw, user

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> RoomServer:
    return RoomServer(API_KEYS, ServerLimits(max_queue_bytes=100_000))


async def call_and_never_read(mallory: RawMember, callee: str, count: int) -> None:
    """Call an unknown method, and ping so as not to count as gone."""
    for number in range(count):
        request = models.RpcRequest(
            id=str(number), method="unknown", response_timeout_ms=60_000, version=1
        )
        mallory.send(models.DataPacket(destination_identities=[callee], rpc_request=request))
        if number % 100 == 0:
            await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()


@pytest.mark.rule("B8")
async def test_who_answers_one_who_does_not_read_goes_on(server: RoomServer, join: Join) -> None:
    async with (
        join("alice") as alice,
        join("bob") as bob,
        join_raw(server, "mallory") as mallory,
    ):

        @alice.register_rpc_method("hello")
        async def hello(_data: object) -> str:
            return "hello"

        await alice.wait_for_participant("mallory")
        await call_and_never_read(mallory, "alice", 5_000)
        started = anyio.current_time()
        for _ in range(100):
            answer = await bob.local_participant.perform_rpc(
                destination_identity="alice", method="hello", payload=""
            )
            assert answer == "hello"
        assert anyio.current_time() - started < 1


@pytest.mark.rule("B8")
async def test_who_calls_one_who_does_not_read_goes_on_beside_a_crowd(
    server: RoomServer, join: Join
) -> None:
    crowd = [f"{number}" for number in range(200)]
    async with (
        join("alice") as alice,
        join("bob") as bob,
        join_all(server, "mallory", "friend", "other", *crowd) as (_, *members),
    ):

        @alice.register_rpc_method("hello")
        async def hello(_data: object) -> str:
            return "hello"

        await alice.wait_for_participant(crowd[-1])
        # Two fill more than half of the queue of one who does not read, and a crowd adds a little.
        for member in members[:2]:
            for _ in range(12):
                member.send(user("x" * 5_000, "mallory"))
                await anyio.wait_all_tasks_blocked()
        for member in members[2:]:
            member.send(user("x", "mallory"))
        await anyio.wait_all_tasks_blocked()
        started = anyio.current_time()
        for _ in range(5):
            with anyio.move_on_after(0.1):
                await alice.local_participant.perform_rpc(
                    destination_identity="mallory", method="hello", payload="x" * 100
                )
            answer = await bob.local_participant.perform_rpc(
                destination_identity="alice", method="hello", payload=""
            )
            assert answer == "hello"
        assert anyio.current_time() - started < 1
