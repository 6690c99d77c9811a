"""Participants that call, or answer, by RPC v2."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from trio_rpc import Room
from trio_rpc.client.loss import OnDisconnect

from .callee import callee
from .caller import Call, Caller, caller
from .scripted_server import ScriptedServer
from .stream_packets import DEFLATE_RAW, expect_whole_stream, peer, server_with


@asynccontextmanager
async def v2_caller(
    client_protocol: int = 2,
    capabilities: tuple[int, ...] = (DEFLATE_RAW,),
    *,
    on_disconnect: OnDisconnect = "raise",
    **limits: Any,
) -> AsyncIterator[Caller]:
    """Alice, with a Bob who speaks v2."""
    server = server_with(peer("bob", client_protocol, capabilities))
    async with caller(server, room=Room(**limits), on_disconnect=on_disconnect) as alice:
        yield alice


@asynccontextmanager
async def v2_callee(
    handler: Any, client_protocol: int = 2, **limits: Any
) -> AsyncIterator[tuple[Room, ScriptedServer]]:
    """Alice, who answers to "greet", with a Bob who speaks v2."""
    async with callee(handler, **limits) as (room, server):
        server.announce(peer("bob", client_protocol))
        yield room, server


async def start_call(alice: Caller, payload: str = "hi", **arguments: Any) -> tuple[Call, str]:
    """Start a call and receive its request; the call, and the id of the request."""
    call = alice.call(payload, **arguments)
    stream = await expect_whole_stream(alice.server)
    assert stream.content == payload.encode()
    return call, stream.attributes["lk.rpc_request_id"]
