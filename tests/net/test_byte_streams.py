"""A stream of bytes whose other side has done something else meanwhile."""

from __future__ import annotations

import socket
import struct

import anyio
import pytest

from trio_rpc.concurrency import open_service_nursery
from trio_rpc.net.byte_streams import ByteStream, open_byte_stream

from ..support.waiting import wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

#: Closing the socket resets the connection.
RESET = struct.pack("ii", 1, 0)


async def test_an_end_that_a_reset_has_overtaken_is_no_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        connection, _ = listener.accept()
    connection.setblocking(False)
    async with open_service_nursery() as nursery:
        stream = await open_byte_stream(connection, nursery)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        peer.close()
        # The event loop has had no time to notice.
        stream.write_eof()
        assert await stream.receive() == b""
        stream.abort()


# The peer's backlog


@pytest.fixture(params=["tcp", "unix"])
def sockets(request: pytest.FixtureRequest) -> tuple[socket.socket, socket.socket]:
    """A connection: our end, and the peer's."""
    if request.param == "unix":
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    return ours, peer


@pytest.mark.rule("B8")
async def test_a_peer_that_reads_slowly_is_seen_to_read(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    ours, peer = sockets
    peer.setblocking(False)
    async with open_service_nursery() as nursery:
        stream = await open_byte_stream(ours, nursery)
        assert stream.unsent_bytes == 0
        stream.write(bytes(8 * 1024 * 1024))
        await settle(stream)
        unsent = stream.unsent_bytes
        # The kernel has taken no megabytes on behalf of one who has read nothing.
        assert unsent > 7 * 1024 * 1024
        read = 0
        for _ in range(5):
            steps = 0
            while stream.unsent_bytes == unsent:
                assert steps < 20, "it read 200 kB, and nothing was seen of it"
                steps += 1
                read += len(peer.recv(10_000))
                await settle(stream)
            unsent = stream.unsent_bytes
        assert 8 * 1024 * 1024 - unsent >= read
        stream.abort()
        peer.close()


@pytest.mark.rule("B8")
async def test_all_is_sent_to_a_peer_that_reads(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    ours, peer = sockets
    peer.setblocking(False)
    async with open_service_nursery() as nursery:
        stream = await open_byte_stream(ours, nursery)
        stream.write(b"x" * 2_000_000)
        read = 0
        while read < 2_000_000:
            await anyio.wait_readable(peer)
            read += len(peer.recv(100_000))
        await stream.drain()
        assert stream.unsent_bytes == 0
        stream.abort()
        peer.close()


async def settle(stream: ByteStream) -> None:
    """Wait until the socket takes nothing more."""
    seen = [-1]

    def is_steady() -> bool:
        # The kernel needs a moment to hand on what it took.
        seen.append(stream.unsent_bytes)
        return seen[-1] == seen[-2]

    await wait_until(is_steady)
