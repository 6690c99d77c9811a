"""Workers of LiveKit Agents, which a test scripts message by message."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from attrs import define
from livekit.protocol import agent

from trio_rpc import AccessToken, VideoGrants
from trio_rpc.links.memory import MemoryStream, open_memory_streams
from trio_rpc.server import RoomServer
from trio_rpc.server.agents.serving import serve_worker

from ...support.tokens import API_KEY, API_SECRET

TOKEN = AccessToken(API_KEY, API_SECRET).with_grants(VideoGrants(agent=True)).to_jwt()


@define(eq=False)
class ScriptedWorker:
    """A worker that has been connected, and registers when the test says so."""

    stream: MemoryStream

    async def send(self, message: agent.WorkerMessage) -> None:
        await self.stream.send_message(message.SerializeToString())

    async def receive(self, kind: str) -> agent.ServerMessage:
        """Receive the next message, which must be of that kind."""
        message = agent.ServerMessage.FromString(await self.stream.receive_message())
        assert message.WhichOneof("message") == kind, message
        return message

    async def register(self, name: str = "") -> agent.RegisterWorkerResponse:
        request = agent.RegisterWorkerRequest(agent_name=name, version="1")
        await self.send(agent.WorkerMessage(register=request))
        return (await self.receive("register")).register

    async def receive_offer(self) -> agent.Job:
        return (await self.receive("availability")).availability.job

    async def answer(self, job: agent.Job, *, available: bool = True, identity: str = "") -> None:
        response = agent.AvailabilityResponse(
            job_id=job.id,
            available=available,
            participant_identity=identity or f"agent-{job.id}",
            participant_name="An agent",
            participant_attributes={"a": "1"},
        )
        await self.send(agent.WorkerMessage(availability=response))

    async def take(self) -> agent.JobAssignment:
        """Take the next job that is offered."""
        await self.answer(await self.receive_offer())
        return (await self.receive("assignment")).assignment

    async def update(self, load: float, *, full: bool = False) -> None:
        status = agent.WorkerStatus.WS_FULL if full else agent.WorkerStatus.WS_AVAILABLE
        update = agent.UpdateWorkerStatus(load=load, status=status)
        await self.send(agent.WorkerMessage(update_worker=update))
        await self.settle()

    async def settle(self) -> None:
        """Wait until the server has handled everything sent so far."""
        await self.send(agent.WorkerMessage(ping=agent.WorkerPing(timestamp=7)))
        assert (await self.receive("pong")).pong.last_timestamp == 7

    async def expect_nothing(self) -> None:
        """Check that the server has sent nothing."""
        await self.settle()


@asynccontextmanager
async def connected_worker(server: RoomServer) -> AsyncIterator[ScriptedWorker]:
    """Be connected as a worker, for as long as the block runs."""
    claims = server.admission.authenticate_worker(TOKEN)
    near, far = open_memory_streams()
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(
            serve_worker, server.admission, server.agents, far, claims, API_SECRET
        )
        try:
            yield ScriptedWorker(near)
        finally:
            await near.aclose("the worker is gone")


@asynccontextmanager
async def registered_worker(server: RoomServer, name: str = "") -> AsyncIterator[ScriptedWorker]:
    """Be connected and registered as a worker of the agent of that name."""
    async with connected_worker(server) as worker:
        await worker.register(name)
        yield worker
