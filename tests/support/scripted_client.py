"""A participant of a server under test, which a test scripts message by message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import anyio
from livekit.protocol import models, rtc

from trio_rpc.links import Channel, Connector, Link, LinkClosedError, LinkFullError

from .messages import Message
from .scripted_peer import ScriptedPeer
from .tokens import make_token


class ScriptedClient(ScriptedPeer[rtc.SignalResponse]):
    """A participant that is in the room.

    Attributes:
        identity: Its identity.
        join: The server's answer when it joined.
    """

    def __init__(self, identity: str, link: Link, join: rtc.JoinResponse) -> None:
        super().__init__(rtc.SignalResponse, rtc.SignalRequest)
        self.identity = identity
        self.link = link
        self.join = join
        self._last_ping = 0

    @property
    def sid(self) -> str:
        return self.join.participant.sid

    def send_to(
        self, *destinations: str, channel: Channel = Channel.RELIABLE, **value: Any
    ) -> None:
        """Send a packet to some, or to all: `send_to("alice", rpc_ack=RpcAck(…))`."""
        self.send(models.DataPacket(destination_identities=destinations, **value), channel)

    def acknowledge(self, request_id: str, caller: str = "alice") -> None:
        self.send_to(caller, rpc_ack=models.RpcAck(request_id=request_id))

    def respond(self, request_id: str, payload: str, caller: str = "alice") -> None:
        response = models.RpcResponse(request_id=request_id, payload=payload)
        self.send_to(caller, rpc_response=response)

    async def keep_alive(self, every: float = 5) -> None:
        """Ping every few seconds, where there is room for it, until the link ends."""
        with suppress(LinkClosedError):
            while True:
                with suppress(LinkFullError):
                    self.send_signal(ping_req=rtc.Ping(timestamp=1))
                await anyio.sleep(every)

    async def settle(self) -> list[Message]:
        """Receive all messages until the server has handled everything sent so far."""
        self._last_ping += 1
        self.send_signal(ping_req=rtc.Ping(timestamp=self._last_ping))
        messages: list[Message] = []
        while True:
            message = await self.receive()
            if isinstance(message, rtc.SignalResponse) and message.HasField("pong_resp"):
                if message.pong_resp.last_ping_timestamp == self._last_ping:
                    return messages
            else:
                messages.append(message)


@asynccontextmanager
async def scripted_client(
    to: Connector, identity: str, *, client: Any = None, **grants: Any
) -> AsyncIterator[ScriptedClient]:
    """Be in a room as a client that the test scripts.

    Args:
        to: The server, or a way to it.
        client: The description that it gives of itself.
        grants: As for `make_token`.
    """
    join_request = rtc.JoinRequest(client_info=client)
    async with to.open_link(make_token(identity, **grants), join_request) as link:
        participant = ScriptedClient(identity, link, rtc.JoinResponse())
        participant.join = (await participant.expect_signal("join")).join
        yield participant


@asynccontextmanager
async def scripted_clients(to: Connector, *identities: str) -> AsyncIterator[list[ScriptedClient]]:
    """Be in a room as several, who have received the news of each other's joining."""
    async with AsyncExitStack() as stack:
        members = [
            await stack.enter_async_context(scripted_client(to, each)) for each in identities
        ]
        await settle_all(members)
        yield members


async def settle_all(members: Iterable[ScriptedClient]) -> dict[str, list[Message]]:
    """Return the messages for each member, up to everything that any of them has sent."""
    received = {member.identity: await member.settle() for member in members}
    for member in members:
        received[member.identity] += await member.settle()
    return received
