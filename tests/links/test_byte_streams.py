"""A stream of bytes whose other side has done something else meanwhile."""

from __future__ import annotations

import socket
import struct

import pytest

from trio_rpc.concurrency import open_service_nursery
from trio_rpc.links.byte_streams import open_byte_stream

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
