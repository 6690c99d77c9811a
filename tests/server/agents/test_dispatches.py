"""AgentDispatchService: sending agents to rooms."""

from __future__ import annotations

import pytest

from trio_rpc import DisconnectReason, Room
from trio_rpc.server import RoomServer, ServerLimits

from ...conftest import Join
from ...support.scripted_client import scripted_client
from ...support.tokens import API_KEYS, ROOM
from ..twirp.client import admin_token, answer_to, ask, refusal_of
from .workers import registered_worker

pytestmark = pytest.mark.anyio

CREATE, DELETE, LIST = (
    f"livekit.AgentDispatchService/{method}"
    for method in ("CreateDispatch", "DeleteDispatch", "ListDispatch")
)


async def test_a_named_agent_comes_when_it_is_dispatched(server: RoomServer) -> None:
    async with registered_worker(server, "helper") as worker, scripted_client(server, "alice"):
        await worker.expect_nothing()
        made = await answer_to(
            server, CREATE, agent_name="helper", metadata="m", attributes={"a": "1"}
        )
        assert made["id"].startswith("AD_")
        assert (made["agent_name"], made["room"], made["metadata"]) == ("helper", ROOM, "m")
        job = (await worker.take()).job
        assert (job.dispatch_id, job.metadata, dict(job.attributes)) == (
            made["id"],
            "m",
            {"a": "1"},
        )
        [_, listed] = (await answer_to(server, LIST))["agent_dispatches"]
        assert listed["id"] == made["id"]
        [listed_job] = listed["state"]["jobs"]
        assert listed_job["state"]["status"] == "JS_RUNNING"
        by_id = await answer_to(server, LIST, dispatch_id=made["id"])
        assert by_id["agent_dispatches"] == [listed]
        assert await answer_to(server, LIST, dispatch_id="AD_none") == {"agent_dispatches": []}


async def test_a_room_that_does_not_exist_is_created_and_gets_both_agents(
    server: RoomServer,
) -> None:
    async with (
        registered_worker(server) as unnamed,
        registered_worker(server, "helper") as named,
    ):
        await answer_to(server, CREATE, agent_name="helper")
        assert (await unnamed.receive_offer()).room.name == ROOM
        assert (await named.receive_offer()).room.name == ROOM
        assert [room.name for room in server.list_rooms()] == [ROOM]


async def test_deleting_a_dispatch_ends_its_jobs_and_removes_its_agents(
    server: RoomServer, join: Join
) -> None:
    async with registered_worker(server, "helper") as worker, join("alice"):
        made = await answer_to(server, CREATE, agent_name="helper")
        assignment = await worker.take()
        connected = Room().connect(server, assignment.token, on_disconnect="continue")
        async with connected as room:
            deleted = await answer_to(server, DELETE, dispatch_id=made["id"])
            assert deleted["id"] == made["id"]
            assert int(deleted["state"]["deleted_at"]) > 0
            termination = (await worker.receive("termination")).termination
            assert termination.job_id == assignment.job.id
            assert await room.wait_disconnected() is DisconnectReason.PARTICIPANT_REMOVED
        assert len((await answer_to(server, LIST))["agent_dispatches"]) == 1
        refusal = await refusal_of(server, DELETE, dispatch_id=made["id"])
        assert refusal == (404, "not_found", f"room {ROOM!r} has no dispatch {made['id']!r}")


async def test_the_jobs_of_a_room_that_is_gone_are_ended(server: RoomServer) -> None:
    async with registered_worker(server) as worker:
        async with scripted_client(server, "alice"):
            job = (await worker.take()).job
        server.delete_room(ROOM)
        assert (await worker.receive("termination")).termination.job_id == job.id
        assert (await refusal_of(server, LIST))[:2] == (404, "not_found")


@pytest.mark.parametrize("method", [CREATE, DELETE, LIST])
async def test_an_administrator_of_the_room_may_and_nobody_else(
    server: RoomServer, method: str
) -> None:
    for token in (admin_token("room_create"), admin_token("room_admin", room="another")):
        status, answer = await ask(server, method, {"room": ROOM}, token=token)
        assert (status, answer["code"]) == (403, "permission_denied")
    assert server.list_rooms() == []


async def test_dispatches_have_limits() -> None:
    server = RoomServer(API_KEYS, ServerLimits(max_metadata_bytes=10, max_name_bytes=8))
    for request in (
        {"metadata": "m" * 11},
        {"agent_name": "a" * 9},
        {"attributes": {"a": "1" * 10}},
    ):
        refusal = await refusal_of(server, CREATE, **request)
        assert refusal[:2] == (400, "invalid_argument")
    for _ in range(99):
        await answer_to(server, CREATE)
    assert (await refusal_of(server, CREATE))[:2] == (429, "resource_exhausted")
