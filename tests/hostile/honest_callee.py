"""A callee under attack, and the check that it still answers honest callers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from livekit.protocol import models

from trio_rpc import Room, RpcInvocationData

from ..support.callee import METHOD
from ..support.scripted_server import ScriptedServer
from ..support.stream_packets import (
    peer,
    server_with,
)


class Handler:
    """A handler that counts its calls, and ends on demand."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.gate = anyio.Event()

    async def __call__(self, data: RpcInvocationData) -> str:
        self.calls.append(data.request_id)
        await self.gate.wait()
        return "done"


@asynccontextmanager
async def v2_callee(handler: Any, **limits: Any) -> AsyncIterator[tuple[Room, ScriptedServer]]:
    room, server = Room(**limits), server_with(peer("bob"), peer("carol"))
    room.register_rpc_method(METHOD, handler)
    async with room.connect(server, "a token", reconnect=None):
        yield room, server


async def assert_answers(server: ScriptedServer, request_id: str = "honest") -> None:
    """Make sure that a call of another participant is answered."""
    request = models.RpcRequest(
        id=request_id, method="honest", payload="", response_timeout_ms=5_000, version=1
    )
    server.send_from("carol", rpc_request=request)
    kinds = []
    while True:
        packet = await server.expect_packet()
        if packet.destination_identities == ["carol"]:
            kinds.append(packet.WhichOneof("value"))
            if kinds[-1] == "rpc_response":
                break
    assert kinds == ["rpc_ack", "rpc_response"]
    assert packet.rpc_response.payload == "fine"


async def honest(_data: RpcInvocationData) -> str:
    return "fine"


def cancel(server: ScriptedServer, request_id: str) -> None:
    user = models.UserPacket(payload=request_id.encode(), topic="trio_rpc.cancel")
    server.send_from("bob", user=user)
