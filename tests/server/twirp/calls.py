"""Calls of the server's own, and participants that answer them."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from livekit.protocol import models

from trio_rpc import Room, RpcError, RpcInvocationData
from trio_rpc.client.loss import OnDisconnect
from trio_rpc.links import Connector
from trio_rpc.server import RoomServer

from ...conftest import Join
from ...support.scripted_client import ScriptedClient
from ...support.tokens import ROOM

Handler = Callable[[RpcInvocationData], Any]


@asynccontextmanager
async def callee(
    join: Join,
    handler: Handler,
    *,
    to: Connector | None = None,
    on_disconnect: OnDisconnect = "raise",
    **options: Any,
) -> AsyncIterator[Room]:
    """Bob, who answers to "greet"; on the server of `join`, or through another connector."""
    room = Room(**options)

    @room.register_rpc_method("greet")
    async def greet(data: RpcInvocationData) -> Any:
        # Never in a thread, during which virtual time would pass.
        result = handler(data)
        return await result if inspect.isawaitable(result) else result

    where = {} if to is None else {"to": to}
    async with join("bob", room=room, on_disconnect=on_disconnect, **where) as joined:
        yield joined


async def greet(server: RoomServer, payload: str = "hi", response_timeout: float = 10.0) -> str:
    return await server.perform_rpc(ROOM, "bob", "greet", payload, response_timeout)


async def failure(call: Awaitable[str]) -> tuple[int, str, str | None]:
    """Return the code, message and data that a call fails with."""
    with pytest.raises(RpcError) as caught:
        await call
    return caught.value.code, caught.value.message, caught.value.data


async def receive_request(member: ScriptedClient) -> tuple[str, models.RpcRequest]:
    """Receive a request of version 1, and return it with the caller's identity."""
    packet = await member.receive()
    assert isinstance(packet, models.DataPacket)
    # One of the server's own, for which the room stands (L4).
    assert packet.sequence > 0
    assert packet.participant_sid == member.join.room.sid
    return packet.participant_identity, packet.rpc_request


def ack(caller: str, request_id: str) -> models.DataPacket:
    return models.DataPacket(
        destination_identities=[caller], rpc_ack=models.RpcAck(request_id=request_id)
    )


def response(caller: str, request_id: str, payload: str) -> models.DataPacket:
    return models.DataPacket(
        destination_identities=[caller],
        rpc_response=models.RpcResponse(request_id=request_id, payload=payload),
    )
