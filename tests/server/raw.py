"""Participants that tests play by hand: through raw links, and through bare sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeAlias, TypeVar

import anyio
import anyio.abc
import wsproto
import wsproto.events
from attrs import define, field
from livekit.protocol import models, rtc
from wsproto.utilities import LocalProtocolError

from trio_rpc.links import Channel, Connector, Frame, Link, LinkClosedError
from trio_rpc.links.websocket import SUBPROTOCOL
from trio_rpc.server import RoomServer, serve

from ..support.tokens import make_token

Message: TypeAlias = models.DataPacket | rtc.SignalResponse
M = TypeVar("M", models.DataPacket, rtc.SignalResponse)


@define(eq=False)
class RawMember:
    """A participant that is in the room, frame by frame.

    Attributes:
        join: What the server said when it joined.
        receipts: The receipts that came, in order.
    """

    identity: str
    link: Link
    join: rtc.JoinResponse
    receipts: list[bytes] = field(factory=list)
    _received: list[Message] = field(factory=list)
    _last_ping: int = 0

    @property
    def sid(self) -> str:
        return self.join.participant.sid

    def send_frame(self, body: bytes, channel: Channel = Channel.RELIABLE) -> None:
        self.link.send_nowait(Frame(channel, body))

    def send(self, packet: models.DataPacket, channel: Channel = Channel.RELIABLE) -> None:
        self.send_frame(packet.SerializeToString(), channel)

    def say(self, **request: Any) -> None:
        """Send a `SignalRequest`, for example `say(leave=LeaveRequest())`."""
        self.send_frame(rtc.SignalRequest(**request).SerializeToString(), Channel.SIGNAL)

    async def receive(self) -> Message:
        """Receive the server's next message."""
        while not self._received:
            for frame in await self.link.receive():
                if frame.channel is Channel.RECEIPT:
                    self.receipts.append(frame.body)
                else:
                    self._received.append(_parse(frame))
        return self._received.pop(0)

    async def settle(self) -> list[Message]:
        """Receive all messages until the server has handled everything sent so far."""
        self._last_ping += 1
        self.say(ping_req=rtc.Ping(timestamp=self._last_ping))
        messages: list[Message] = []
        while True:
            message = await self.receive()
            if isinstance(message, rtc.SignalResponse) and message.HasField("pong_resp"):
                if message.pong_resp.last_ping_timestamp == self._last_ping:
                    return messages
            else:
                messages.append(message)

    async def receive_rest(self) -> tuple[list[Message], str]:
        """Receive messages until the link ends, and return them with the reason of its end."""
        messages: list[Message] = []
        while True:
            try:
                messages.append(await self.receive())
            except LinkClosedError as error:
                return messages, str(error)


def _parse(frame: Frame) -> Message:
    if frame.channel is Channel.SIGNAL:
        return rtc.SignalResponse.FromString(frame.body)
    return models.DataPacket.FromString(frame.body)


@asynccontextmanager
async def join_raw(
    to: Connector, identity: str, *, client: Any = None, **grants: Any
) -> AsyncIterator[RawMember]:
    """Join by hand; `grants` as for `make_token`."""
    join_request = rtc.JoinRequest(client_info=client)
    async with to.open_link(make_token(identity, **grants), join_request) as link:
        (first, *rest) = map(_parse, await link.receive())
        assert isinstance(first, rtc.SignalResponse)
        assert first.HasField("join"), first
        yield RawMember(identity, link, first.join, received=list(rest))


@asynccontextmanager
async def join_all(to: Connector, *identities: str) -> AsyncIterator[list[RawMember]]:
    """Join several; what they heard of each other's joining is read already."""
    async with AsyncExitStack() as stack:
        members = [await stack.enter_async_context(join_raw(to, each)) for each in identities]
        await settle_all(members)
        yield members


async def settle_all(members: Iterable[RawMember]) -> dict[str, list[Message]]:
    """Return the messages for each member, up to everything that any of them has sent."""
    received = {member.identity: await member.settle() for member in members}
    for member in members:
        received[member.identity] += await member.settle()
    return received


def packets(messages: Iterable[Message]) -> list[models.DataPacket]:
    return [message for message in messages if isinstance(message, models.DataPacket)]


def signals(messages: Iterable[Message]) -> list[rtc.SignalResponse]:
    return [message for message in messages if isinstance(message, rtc.SignalResponse)]


def updates(messages: Iterable[Message]) -> list[models.ParticipantInfo]:
    """Return the participants in updates, in order."""
    return [info for signal in signals(messages) for info in signal.update.participants]


def told(messages: Iterable[Message]) -> list[tuple[str, str]]:
    """Return the participants in updates as pairs of identity and state."""
    state = models.ParticipantInfo.State
    return [(info.identity, state.Name(info.state)) for info in updates(messages)]


def leave_reasons(messages: Iterable[Message]) -> list[str]:
    """Return the reasons in the `LeaveRequest`s that the server sent."""
    return [
        models.DisconnectReason.Name(signal.leave.reason)
        for signal in signals(messages)
        if signal.HasField("leave")
    ]


def user(text: str, *destinations: str) -> models.DataPacket:
    """Return a packet of user data."""
    return models.DataPacket(
        destination_identities=destinations, user=models.UserPacket(payload=text.encode())
    )


def texts(messages: Iterable[Message]) -> list[str]:
    """Return the texts of packets that `user` made."""
    return [packet.user.payload.decode() for packet in packets(messages)]


def request(*destinations: str, request_id: str = "1") -> models.DataPacket:
    """Return the packet of a call of the method `echo`."""
    return models.DataPacket(
        destination_identities=destinations,
        rpc_request=models.RpcRequest(
            id=request_id, method="echo", payload="hi", response_timeout_ms=5000, version=1
        ),
    )


# Bare sockets


@define
class RefusedError(Exception):
    """The server answered the handshake with something else than a WebSocket."""

    status: int
    body: str


class RawWebSocket:
    """A WebSocket over a TCP connection that the test holds in its hands."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self.stream = stream
        self._protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)

    async def shake_hands(
        self, target: str, headers: list[tuple[bytes, bytes]], subprotocols: list[str]
    ) -> None:
        await self.send(
            wsproto.events.Request(
                host="test", target=target, extra_headers=headers, subprotocols=subprotocols
            )
        )
        status, body = 0, b""
        while True:
            match await self.receive():
                case wsproto.events.AcceptConnection():
                    return
                case wsproto.events.RejectConnection(status_code=status):
                    pass
                case wsproto.events.RejectData(data=data, body_finished=finished):
                    body += data
                    if finished:
                        raise RefusedError(status, body.decode())

    async def send(self, event: wsproto.events.Event) -> None:
        await self.stream.send(self._protocol.send(event))

    async def receive(self) -> wsproto.events.Event:
        """Receive the next event; an error of anyio's when the connection has ended."""
        while True:
            for event in self._protocol.events():
                return event
            data = await self.stream.receive()
            self._protocol.receive_data(data)

    async def receive_close(self) -> tuple[int, str]:
        """Receive the code and the reason with which the server closes the WebSocket."""
        while True:
            match await self.receive():
                case wsproto.events.CloseConnection(code=code, reason=reason) as event:
                    with suppress(LocalProtocolError, anyio.BrokenResourceError):
                        await self.send(event.response())
                    return code, reason or ""


@asynccontextmanager
async def serving(server: RoomServer, host: str = "127.0.0.1", **tls: Any) -> AsyncIterator[str]:
    """Serve while the block runs."""
    async with anyio.create_task_group() as task_group:
        yield await task_group.start(partial(serve, server, host, 0, **tls))
        task_group.cancel_scope.cancel()


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@asynccontextmanager
async def connect_websocket(
    url: str,
    token: str | None,
    *,
    target: str = "/rtc",
    in_query: bool = False,
    subprotocols: Iterable[str] = (SUBPROTOCOL,),
    extensions: bytes | None = None,
) -> AsyncIterator[RawWebSocket]:
    """Open a WebSocket by hand.

    Args:
        extensions: Offered to the server, which must not agree to any.

    Raises:
        RefusedError: the server did not want it.
    """
    headers = [] if extensions is None else [(b"sec-websocket-extensions", extensions)]
    if token is not None and in_query:
        target += f"?access_token={token}"
    elif token is not None:
        headers.append((b"authorization", f"Bearer {token}".encode()))
    async with await anyio.connect_tcp("127.0.0.1", port_of(url)) as stream:
        websocket = RawWebSocket(stream)
        await websocket.shake_hands(target, headers, list(subprotocols))
        yield websocket
