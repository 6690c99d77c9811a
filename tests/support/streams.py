"""Servers of stream links, their certificates, and peers that speak to them by hand."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import trustme
from attrs import define, field, frozen
from livekit.protocol import models, rtc

from trio_rpc.links.records import (
    PREAMBLE,
    Record,
    RecordDecoder,
    RecordKind,
    encode_record,
)
from trio_rpc.server import RoomServer, serve_stream


@frozen
class Certificate:
    """A certificate for 127.0.0.1 that is made for a test.

    Attributes:
        files: `certfile` and `keyfile`, for a server.
        trusted: What a client needs to trust it.
    """

    files: dict[str, Path]
    trusted: ssl.SSLContext

    @classmethod
    def make(cls, directory: Path) -> Certificate:
        authority = trustme.CA()
        pem = directory / "server.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))
        trusted = ssl.create_default_context()
        authority.configure_trust(trusted)
        return cls({"certfile": pem, "keyfile": pem}, trusted)


@asynccontextmanager
async def serving_stream(
    server: RoomServer, url: str = "tcp://127.0.0.1:0", **files: Path
) -> AsyncIterator[str]:
    """Serve stream links while the block runs; yields their URL."""

    async def run(*, task_status: anyio.abc.TaskStatus[str]) -> None:
        await serve_stream(server, url, **files, task_status=task_status)

    async with anyio.create_task_group() as task_group:
        yield await task_group.start(run)
        task_group.cancel_scope.cancel()


def hello(token: str, *, before: bytes = PREAMBLE) -> bytes:
    """Return the first bytes that a client sends."""
    request = rtc.JoinRequest(client_info=models.ClientInfo(version="1"))
    body = token.encode() + b"\n" + request.SerializeToString()
    return before + encode_record(RecordKind.HELLO, body)


@define(eq=False)
class RawPeer:
    """A client of a stream link that is played byte by byte."""

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
        """Say hello, and be let in."""
        await self.send(hello(token))
        assert await self.receive() == (RecordKind.ANSWER, b"200 ")
        assert (await self.receive()).kind is RecordKind.MESSAGE


@asynccontextmanager
async def connect_raw(url: str) -> AsyncIterator[RawPeer]:
    """Connect to a `tcp://` or `unix://` URL, and say nothing yet."""
    scheme, _, address = url.partition("://")
    stream: anyio.abc.SocketStream
    if scheme == "unix":
        stream = await anyio.connect_unix(address)
    else:
        stream = await anyio.connect_tcp("127.0.0.1", int(address.rpartition(":")[2]))
    async with stream:
        yield RawPeer(stream)
