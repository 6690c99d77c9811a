"""Sockets that tests script byte by byte, or nearly: WebSockets and stream links of clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.abc
import wsproto
import wsproto.events
from attrs import define, field
from livekit.protocol import models, rtc
from wsproto.utilities import LocalProtocolError

from trio_rpc.links.records import (
    PREAMBLE,
    Record,
    RecordDecoder,
    RecordKind,
    encode_record,
)
from trio_rpc.links.websocket import SUBPROTOCOL

from .serving import port_of

# WebSockets


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
async def connect_websocket(
    url: str,
    token: str | None,
    *,
    target: str = "/rtc",
    in_query: bool = False,
    subprotocols: Iterable[str] = (SUBPROTOCOL,),
    extensions: bytes | None = None,
) -> AsyncIterator[RawWebSocket]:
    """Open a WebSocket whose frames the test sends and receives.

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


# Stream links


def hello(token: str, *, before: bytes = PREAMBLE) -> bytes:
    """Return the first bytes that a client sends."""
    request = rtc.JoinRequest(client_info=models.ClientInfo(version="1"))
    body = token.encode() + b"\n" + request.SerializeToString()
    return before + encode_record(RecordKind.HELLO, body)


@define(eq=False)
class RawStreamLink:
    """The client's end of a stream link, which a test scripts record by record."""

    stream: anyio.abc.SocketStream
    _decoder: RecordDecoder = field(factory=lambda: RecordDecoder(2**31))

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    async def receive(self) -> Record:
        """Receive the server's next record."""
        while (record := self._decoder.next_record()) is None:
            self._decoder.feed(await self.stream.receive())
        return record

    async def receive_rest(self) -> list[tuple[str, str]]:
        """Receive all records to the end; return their kinds, and the bodies but for messages."""
        try:
            async for chunk in self.stream:
                self._decoder.feed(chunk)
        except anyio.BrokenResourceError:
            pass
        return [
            (kind.name, "" if kind is RecordKind.MESSAGE else body.decode())
            for kind, body in iter(self._decoder.next_record, None)
        ]

    async def join(self, token: str) -> None:
        """Send the HELLO, and be admitted."""
        await self.send(hello(token))
        assert await self.receive() == (RecordKind.ANSWER, b"200 ")
        assert (await self.receive()).kind is RecordKind.MESSAGE


@asynccontextmanager
async def connect_stream_link(url: str) -> AsyncIterator[RawStreamLink]:
    """Connect to a `tcp://` or `unix://` URL, and send nothing yet."""
    scheme, _, address = url.partition("://")
    stream: anyio.abc.SocketStream
    if scheme == "unix":
        stream = await anyio.connect_unix(address)
    else:
        stream = await anyio.connect_tcp("127.0.0.1", int(address.rpartition(":")[2]))
    async with stream:
        yield RawStreamLink(stream)
