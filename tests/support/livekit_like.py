"""Participants of a `LiveKitLikeServer` that a test scripts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from livekit.protocol import models, rtc

from trio_rpc.links import Link, LinkClosedError
from trio_rpc.server import RoomServer
from trio_rpc.testing import LiveKitLikeServer

from .scripted_client import ScriptedClient


@asynccontextmanager
async def scripted(
    server: LiveKitLikeServer,
    identity: str,
    link: AbstractAsyncContextManager[Link] | None = None,
    **grants: Any,
) -> AsyncIterator[ScriptedClient]:
    """Be in the room as a client that the test scripts.

    Args:
        link: Its link; by default, one that announces it.
    """
    token = server.token(identity, **grants)
    async with link or server.open_link(token, rtc.JoinRequest()) as opened:
        client = ScriptedClient(identity, opened, rtc.JoinResponse())
        client.join = (await client.expect_signal("join")).join
        yield client
        with suppress(LinkClosedError):
            client.send_signal(leave=rtc.LeaveRequest(reason=models.CLIENT_INITIATED))


def unannounced(server: LiveKitLikeServer, identity: str) -> AbstractAsyncContextManager[Link]:
    return server.unannounced.open_link(server.token(identity), rtc.JoinRequest())


def unopened(server: LiveKitLikeServer, identity: str) -> AbstractAsyncContextManager[Link]:
    """Return a link that can be used before its data channels are open."""
    return RoomServer.open_link(server, server.token(identity), rtc.JoinRequest())


async def next_update(client: ScriptedClient) -> list[models.ParticipantInfo]:
    while True:
        message = await client.receive()
        if isinstance(message, rtc.SignalResponse) and message.HasField("update"):
            return list(message.update.participants)


async def update_about(client: ScriptedClient, identity: str) -> models.ParticipantInfo:
    while True:
        for info in await next_update(client):
            if info.identity == identity:
                return info


async def packets_until(client: ScriptedClient, payload: bytes) -> list[bytes]:
    """Return the payloads of the packets up to one with `payload`."""
    payloads = [b""]
    while payloads[-1] != payload:
        payloads.append((await client.receive_packet()).user.payload)
    return payloads[1:]


def user(payload: bytes) -> models.UserPacket:
    return models.UserPacket(payload=payload)
