"""Workers of LiveKit Agents: registering, and getting the jobs of new rooms."""

from __future__ import annotations

import anyio
import pytest
import wsproto.events
from livekit.protocol import agent, models, rtc

from trio_rpc import AccessToken, ParticipantKind, Room, VideoGrants
from trio_rpc.links import LinkClosedError
from trio_rpc.server import RoomServer, ServerStatistics
from trio_rpc.tokens import KindClaim, verify_token

from ...conftest import Join
from ...support.messages import leave_reasons
from ...support.raw_sockets import RefusedError, connect_websocket
from ...support.scripted_client import ScriptedClient, scripted_client
from ...support.tokens import API_KEY, API_KEYS, API_SECRET, ROOM, make_token
from .workers import TOKEN, connected_worker, registered_worker

pytestmark = pytest.mark.anyio


async def test_a_worker_registers_and_learns_about_the_server(server: RoomServer) -> None:
    async with connected_worker(server) as worker:
        response = await worker.register()
        assert response.worker_id.startswith("AW_")
        assert response.server_info.agent_protocol == 1
        assert response.server_info.node_id.startswith("trio-rpc-")
        await worker.settle()


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("token", "why"),
    [
        (make_token("alice"), "the token does not grant being a worker of agents (agent)"),
        ("garbage", "the token is not a JWT"),
        (
            AccessToken(API_KEY, "another secret of thirty-two bytes").to_jwt(),
            f"the token is signed with another secret than the one of API key '{API_KEY}'",
        ),
    ],
    ids=["no grant", "garbage", "another secret"],
)
async def test_others_are_refused(url: str, token: str, why: str) -> None:
    with pytest.raises(RefusedError) as caught:
        async with connect_websocket(url, token, target="/agent", subprotocols=[]):
            raise AssertionError
    assert (caught.value.status, caught.value.body) == (401, why)


@pytest.mark.real_time
async def test_a_worker_registers_over_a_websocket(url: str) -> None:
    async with connect_websocket(url, TOKEN, target="/agent", subprotocols=[]) as websocket:
        register = agent.RegisterWorkerRequest(version="1")
        data = agent.WorkerMessage(register=register).SerializeToString()
        await websocket.send(wsproto.events.BytesMessage(data=data))
        response = await websocket.receive()
        assert isinstance(response, wsproto.events.BytesMessage)
        message = agent.ServerMessage.FromString(bytes(response.data))
        assert message.register.worker_id.startswith("AW_")


async def test_a_worker_that_does_not_register_is_disconnected(server: RoomServer) -> None:
    async with connected_worker(server) as worker:
        started = anyio.current_time()
        with pytest.raises(LinkClosedError, match="it did not register within 10 s"):
            await worker.stream.receive_message()
        assert anyio.current_time() - started == pytest.approx(10)


@pytest.mark.parametrize("registered", [True, False])
async def test_a_worker_that_sends_nonsense_is_disconnected(
    server: RoomServer, registered: bool
) -> None:
    async with connected_worker(server) as worker:
        if registered:
            await worker.register()
        await worker.stream.send_message(b"\xff")
        with pytest.raises(LinkClosedError):
            await worker.stream.receive_message()


async def test_a_worker_gets_a_job_for_each_new_room_and_its_agent_joins(
    server: RoomServer, join: Join
) -> None:
    async with registered_worker(server) as worker, join("alice") as alice:
        job = await worker.receive_offer()
        assert (job.room.name, job.type, job.agent_name) == (ROOM, agent.JobType.JT_ROOM, "")
        await worker.answer(job, identity="the agent")
        assignment = (await worker.receive("assignment")).assignment
        assert assignment.job.id == job.id
        assert assignment.job.state.status == agent.JobStatus.JS_RUNNING
        assert assignment.job.state.participant_identity == "the agent"
        async with Room().connect(server, assignment.token) as room:
            us = room.local_participant
            assert us.kind is ParticipantKind.AGENT
            assert us.name == "An agent"
            assert us.attributes == {"a": "1", "lk.agent_name": ""}
            assert us.permissions.can_publish_data
            await alice.wait_for_participant("the agent")
        # The room is there already.
        async with join("bob"):
            await worker.expect_nothing()


async def test_a_job_that_is_declined_goes_to_the_next_worker(server: RoomServer) -> None:
    async with (
        registered_worker(server) as first,
        registered_worker(server) as second,
        scripted_client(server, "alice"),
    ):
        job = await first.receive_offer()
        await second.expect_nothing()
        await first.answer(job, available=False)
        assert (await second.receive_offer()).id == job.id
        await second.answer(job, available=False)
        for worker in (first, second):
            await worker.expect_nothing()
        [dispatch] = server.agents.list_dispatches(ROOM)
        assert not dispatch.state.jobs


async def test_a_job_that_is_not_answered_in_time_goes_to_the_next_worker(
    server: RoomServer,
) -> None:
    async with (
        registered_worker(server) as first,
        registered_worker(server) as second,
        scripted_client(server, "alice"),
    ):
        job = await first.receive_offer()
        started = anyio.current_time()
        assert (await second.receive_offer()).id == job.id
        assert anyio.current_time() - started == pytest.approx(10, abs=1)
        await first.answer(job)
        await first.expect_nothing()
        await second.answer(job)
        await second.receive("assignment")


async def test_the_jobs_of_a_worker_that_is_gone_have_failed_and_its_offers_go_on(
    server: RoomServer,
) -> None:
    async with registered_worker(server) as second, registered_worker(server) as third:
        await second.update(load=0.5)
        await third.update(load=0.6)
        async with registered_worker(server) as first, scripted_client(server, "alice"):
            await first.take()
            async with scripted_client(server, "alice", room="another"):
                await first.receive_offer()
                await first.stream.aclose("gone")
                assert (await second.receive_offer()).room.name == "another"
        [dispatch] = server.agents.list_dispatches(ROOM)
        [job] = dispatch.state.jobs
        assert job.state.status == agent.JobStatus.JS_FAILED
        assert job.state.error == "the worker is gone"


async def test_the_worker_with_the_least_load_is_asked_and_none_that_is_full(
    server: RoomServer,
) -> None:
    async with (
        registered_worker(server) as busy,
        registered_worker(server) as idle,
        registered_worker(server) as full,
    ):
        await busy.update(load=0.9)
        await idle.update(load=0.1)
        await full.update(load=0.0, full=True)
        async with scripted_client(server, "alice"):
            await idle.take()
            await busy.expect_nothing()
            await full.expect_nothing()


async def test_a_worker_reports_the_progress_of_its_jobs(server: RoomServer) -> None:
    async with registered_worker(server) as worker, scripted_client(server, "alice"):
        job = (await worker.take()).job
        for status in (agent.JobStatus.JS_RUNNING, agent.JobStatus.JS_FAILED):
            update = agent.UpdateJobStatus(job_id=job.id, status=status, error="why")
            await worker.send(agent.WorkerMessage(update_job=update))
            await worker.settle()
            [dispatch] = server.agents.list_dispatches(ROOM)
            [reported] = dispatch.state.jobs
            assert (reported.state.status, reported.state.error) == (status, "why")


async def test_an_agent_that_cannot_join_is_not_sent(server: RoomServer) -> None:
    async with registered_worker(server) as worker, scripted_client(server, "alice"):
        await worker.answer(await worker.receive_offer(), identity="x" * 257)
        await worker.expect_nothing()


async def test_the_permissions_that_a_worker_allows_are_those_of_its_agents(
    server: RoomServer,
) -> None:
    async with connected_worker(server) as worker:
        allowed = models.ParticipantPermission(can_subscribe=True, hidden=True)
        register = agent.RegisterWorkerRequest(version="1", allowed_permissions=allowed)
        await worker.send(agent.WorkerMessage(register=register))
        await worker.receive("register")
        async with scripted_client(server, "alice"):
            grants = verify_token((await worker.take()).token, API_KEYS).grants
        assert (grants.hidden, grants.can_publish_data, grants.can_subscribe) == (True, False, True)
        assert grants.agent


async def keep_present(member: ScriptedClient) -> str:
    """Stay in the room until the server disconnects the participant; return the reason."""
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(member.keep_alive)
        messages, _ = await member.receive_rest()
        task_group.cancel_scope.cancel()
    [reason] = leave_reasons(messages)
    return reason


@pytest.mark.parametrize("kind", ["agent", "standard"])
async def test_agents_alone_do_not_keep_a_room(server: RoomServer, kind: KindClaim) -> None:
    grants = VideoGrants(room_join=True, room=ROOM)
    token = AccessToken(API_KEY, API_SECRET).with_identity("left").with_grants(grants)
    request = rtc.JoinRequest(client_info=models.ClientInfo())
    async with server.open_link(token.with_kind(kind).to_jwt(), request) as link:
        left = ScriptedClient("left", link, rtc.JoinResponse())
        async with scripted_client(server, "alice"):
            await anyio.sleep(5)
            started = anyio.current_time()
        if kind == "agent":
            assert await keep_present(left) == "ROOM_CLOSED"
            assert anyio.current_time() - started == pytest.approx(20, abs=4)
            await anyio.sleep(20)
            assert server.statistics() == ServerStatistics(rooms=0, participants=0)
        else:
            with anyio.move_on_after(100) as scope:
                await keep_present(left)
            assert scope.cancelled_caught


async def test_workers_are_disconnected_when_the_server_shuts_down(server: RoomServer) -> None:
    async with registered_worker(server) as worker:
        await server.shut_down()
        with pytest.raises(LinkClosedError, match="the server shuts down"):
            await worker.stream.receive_message()


def test_the_token_of_an_agent_is_signed_with_the_secret_of_its_worker() -> None:
    old = "the secret before this one, of thirty-two bytes"
    server = RoomServer({API_KEY: (API_SECRET, old)})
    for secret in (API_SECRET, old):
        token = AccessToken(API_KEY, secret).to_jwt()
        assert server.admission.secret_of(token, server.admission.verify(token)) == secret
