"""An agent of LiveKit Agents on our server, without a model: its tools are called by the test."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from livekit import api

from trio_rpc import ParticipantKind, Room, RpcInvocationData
from trio_rpc.events import ParticipantDisconnected

from ..support.tokens import API_KEY, API_SECRET, make_token
from .programs import PEERS, agents_python
from .server import Server

ROOM: Final = "with an agent"
US: Final = "the frontend"


@contextmanager
def worker(server: Server, log: Path) -> Iterator[None]:
    """Run a worker in the block, as its user would."""
    environment = {
        **os.environ,
        "LIVEKIT_URL": server.url,
        "LIVEKIT_API_KEY": API_KEY,
        "LIVEKIT_API_SECRET": API_SECRET,
    }
    command = [agents_python(), str(PEERS / "agent.py"), "dev", "--no-reload"]
    with (
        log.open("w") as written,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                written.write(line)
                if "registered worker" in line:
                    break
            else:
                pytest.fail(log.read_text())
            yield
        finally:
            process.terminate()
            written.write(process.stdout.read())


async def dispatch(server: Server) -> None:
    url = server.url.replace("ws:", "http:")
    async with api.LiveKitAPI(url, API_KEY, API_SECRET) as livekit:
        request = api.CreateAgentDispatchRequest(agent_name="helper", room=ROOM, metadata=US)
        await livekit.agent_dispatch.create_dispatch(request)
        [*_, listed] = await livekit.agent_dispatch.list_dispatch(ROOM)
        assert "helper" in {each.agent_name for each in [listed, *_]}


async def call_its_tool(server: Server) -> str:
    """Have an agent sent to a room, and call its tool, which calls us."""
    room = Room()
    ready = asyncio.Event()
    agents: list[str] = []

    @room.register_rpc_method("ready")
    async def on_ready(data: RpcInvocationData) -> str:
        agents.append(data.caller_identity)
        ready.set()
        return ""

    @room.register_rpc_method("locate")
    async def locate(data: RpcInvocationData) -> str:
        return f"{data.payload}: in the kitchen"

    async with room.connect(server.url, make_token(US, room=ROOM)):
        await dispatch(server)
        await ready.wait()
        agent = room.remote_participants[agents[0]]
        assert agent.kind is ParticipantKind.AGENT
        assert agent.attributes["lk.agent_name"] == "helper"
        request = json.dumps({"name": "locate", "arguments": {"question": "where"}})
        answer = await agent.perform_rpc("call_tool", request)
        async with room.events(ParticipantDisconnected) as events:
            async with api.LiveKitAPI(
                server.url.replace("ws:", "http:"), API_KEY, API_SECRET
            ) as livekit:
                dispatches = await livekit.agent_dispatch.list_dispatch(ROOM)
                for each in dispatches:
                    await livekit.agent_dispatch.delete_dispatch(each.id, ROOM)
            assert (await anext(events)).participant is agent
        return answer


def test_an_agent_is_sent_to_a_room_and_its_tools_call_participants(
    trio_server: Server, logs: Path
) -> None:
    with worker(trio_server, logs / "agent"):
        assert asyncio.run(call_its_tool(trio_server)) == "where: in the kitchen"
