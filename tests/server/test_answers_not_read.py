"""Callers that do not read: participants that answer them are not held up (B8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from livekit.protocol import models

from trio_rpc import Room, RpcError
from trio_rpc.server import RoomServer, ServerLimits

from ..conftest import Join
from ..support.messages import Message, packets, user
from ..support.scripted_client import ScriptedClient, scripted_client, scripted_clients
from ..support.stream_packets import request_header
from ..support.tokens import API_KEYS
from .reading import reading, send_all

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> RoomServer:
    return RoomServer(API_KEYS, ServerLimits(max_queue_bytes=100_000))


@pytest.fixture
def little_between_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a link in memory hold little, as a socket does."""
    monkeypatch.setattr("trio_rpc.links.memory._BUFFERED_MESSAGES", 1)


async def call_and_never_read(
    mallory: ScriptedClient, callee: str, count: int, *, method: str = "unknown", prefix: str = ""
) -> None:
    """Call an unknown method, and ping so as not to count as gone."""
    for number in range(count):
        request = models.RpcRequest(
            id=f"{prefix} {number}", method=method, response_timeout_ms=60_000, version=1
        )
        mallory.send(models.DataPacket(destination_identities=[callee], rpc_request=request))
        if number % 100 == 0:
            await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()


@pytest.mark.rule("B8")
async def test_a_callee_of_a_caller_that_does_not_read_goes_on(
    server: RoomServer, join: Join
) -> None:
    async with (
        join("alice") as alice,
        join("bob") as bob,
        scripted_client(server, "mallory") as mallory,
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
async def test_a_caller_of_a_callee_that_does_not_read_goes_on_beside_a_crowd(
    server: RoomServer, join: Join
) -> None:
    crowd = [f"{number}" for number in range(200)]
    async with (
        join("alice") as alice,
        join("bob") as bob,
        scripted_clients(server, "mallory", "friend", "other", *crowd) as (_, *members),
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


@pytest.mark.rule("B8")
@pytest.mark.parametrize("leaves", [1, 3])
async def test_a_callee_goes_on_whose_caller_left_came_back_and_does_not_read(
    server: RoomServer, join: Join, leaves: int
) -> None:
    may_answer = anyio.Event()
    async with join("alice") as alice, join("bob") as bob:

        @alice.register_rpc_method("later")
        async def later(_data: object) -> str:
            await may_answer.wait()
            return "later"

        @alice.register_rpc_method("hello")
        async def hello(_data: object) -> str:
            return "hello"

        for number in range(leaves):
            async with scripted_client(server, "mallory") as mallory:
                await alice.wait_for_participant("mallory")
                await call_and_never_read(mallory, "alice", 50, method="later", prefix=f"{number}")
        async with scripted_client(server, "mallory") as mallory:
            await call_and_never_read(mallory, "alice", 5_000)
            may_answer.set()
            await anyio.wait_all_tasks_blocked()
            started = anyio.current_time()
            for _ in range(100):
                answer = await bob.local_participant.perform_rpc(
                    destination_identity="alice", method="hello", payload=""
                )
                assert answer == "hello"
            assert anyio.current_time() - started < 1


# Answers that come in chunks


def at_length_requests(count: int) -> Iterator[models.DataPacket]:
    """Call a method whose answer takes several chunks."""
    for number in range(count):
        header = request_header(f"{number}", method="at length", timeout_ms=60_000)
        yield models.DataPacket(destination_identities=["alice"], stream_header=header)


@asynccontextmanager
async def join_at_length(join: Join) -> AsyncIterator[Room]:
    """Join as alice, who answers briefly and at length."""
    async with join("alice", room=Room(max_payload_bytes=60_000)) as alice:

        @alice.register_rpc_method("at length")
        async def at_length(_data: object) -> str:
            return "x" * 60_000

        @alice.register_rpc_method("hello")
        async def hello(_data: object) -> str:
            return "hello"

        yield alice


def outcomes(messages: list[Message]) -> dict[str, list[int]]:
    """Return, by call, the bytes of each complete response, and the codes of errors."""
    found: dict[str, list[int]] = {}
    sizes = Counter[str]()
    for packet in packets(messages):
        match packet.WhichOneof("value"):
            case "stream_chunk":
                sizes[packet.stream_chunk.stream_id] += len(packet.stream_chunk.content)
            case "stream_trailer":
                stream_id = packet.stream_trailer.stream_id
                found.setdefault(stream_id, []).append(sizes[stream_id])
            case "rpc_response":
                error = packet.rpc_response.error
                found.setdefault(packet.rpc_response.request_id, []).append(error.code)
            case _:
                pass
    return found


@pytest.mark.usefixtures("little_between_links")
@pytest.mark.rule("B8", "A9")
async def test_a_callee_with_large_answers_to_a_caller_that_does_not_read_goes_on(
    server: RoomServer, join: Join
) -> None:
    async with (
        join_at_length(join) as alice,
        join("bob") as bob,
        scripted_client(server, "mallory") as mallory,
    ):
        await alice.wait_for_participant("mallory")
        for packet in at_length_requests(40):
            mallory.send(packet)
            await anyio.wait_all_tasks_blocked()
        started = anyio.current_time()
        # Nor do its answers count when it calls that one itself, for which there may be no room.
        with anyio.move_on_after(0.1), suppress(RpcError):
            await alice.local_participant.perform_rpc(
                destination_identity="mallory", method="hello", payload=""
            )
        for _ in range(100):
            answer = await bob.local_participant.perform_rpc(
                destination_identity="alice", method="hello", payload=""
            )
            assert answer == "hello"
        assert anyio.current_time() - started < 1
        # Each call has one outcome, when it is read at last.
        found = outcomes(await mallory.settle())
        assert len(found) == 40
        assert {tuple(each) for each in found.values()} == {(60_000,), (1505,)}


@pytest.mark.usefixtures("little_between_links")
@pytest.mark.rule("B8")
async def test_who_reads_slowly_gets_answers_at_length(server: RoomServer, join: Join) -> None:
    async with (
        join_at_length(join) as alice,
        scripted_client(server, "slow") as slow,
        reading((slow, 0.1)) as (reader,),
    ):
        await alice.wait_for_participant("slow")
        await send_all(slow, at_length_requests(40))
        with anyio.fail_after(60):
            await reader.wait_until(lambda: len(outcomes(reader.messages)) == 40)
        assert {tuple(each) for each in outcomes(reader.messages).values()} == {(60_000,)}
