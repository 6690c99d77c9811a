"""Sockets as streams of bytes, on trio and on asyncio.

They are made for few steps between a call and its socket: as much as the socket takes is written at
once, without a task in between, and all received bytes are read at once.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol, cast

import trio

from .. import concurrency
from ..concurrency import Nursery

#: The bytes that are read from a socket at once, and that may wait to be received.
READ_BYTES: Final = 256 * 1024
#: The most unsent bytes that the kernel keeps.
_KERNEL_BYTES: Final = 64 * 1024
#: None where the platform has no such option.
_NOTSENT_LOWAT: Final[int | None] = getattr(socket, "TCP_NOTSENT_LOWAT", None)


class ByteStream(Protocol):
    """One connection. One task at a time may receive, and one may send."""

    @property
    def unsent_bytes(self) -> int:
        """Bytes that were written and that the socket has not taken: the peer's backlog."""
        ...

    async def receive(self) -> bytes:
        """Receive bytes; empty once the other side has ended or the connection is lost."""
        ...

    def write(self, data: bytes) -> bool:
        """Send what the socket takes at once; the rest leaves in the background.

        Returns:
            Whether more may be written, since there are no unsent bytes. If not, `drain` comes
            first.

        Raises:
            OSError: the connection is lost.
        """
        ...

    async def drain(self) -> None:
        """Wait until more may be written.

        Raises:
            OSError: the connection is lost.
        """
        ...

    def write_eof(self) -> None:
        """Tell the other side that nothing more will come. Never raises."""
        ...

    def abort(self) -> None:
        """Close the connection at once, and wake all tasks that wait for it. Never raises."""
        ...


async def connect_tcp(host: str, port: int, nursery: Nursery) -> ByteStream:
    """Connect to a host.

    Args:
        nursery: Runs the stream's background tasks, until `abort`.

    Raises:
        OSError: the host does not answer.
    """
    return await _CONNECT_TCP[concurrency.current().name](host, port, nursery)


async def connect_unix(path: str, nursery: Nursery) -> ByteStream:
    """Connect to a socket in the file system; otherwise as `connect_tcp`."""
    return await _CONNECT_UNIX[concurrency.current().name](path, nursery)


async def open_byte_stream(connection: socket.socket, nursery: Nursery) -> ByteStream:
    """Open a stream over a connected socket, which it owns from here on; see `connect_tcp`."""
    try:
        connection.setblocking(False)
        _send_at_once(connection)
        _bound_kernel_buffer(connection)
        return await _OPEN[concurrency.current().name](connection, nursery)
    except BaseException:
        connection.close()
        raise


def _send_at_once(connection: socket.socket) -> None:
    """Disable Nagle's algorithm: small messages must not wait for an acknowledgement."""
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _bound_kernel_buffer(connection: socket.socket) -> None:
    """Have the kernel keep few unsent bytes.

    By default it takes megabytes, and takes more only when a third of them has left. A slow peer
    could then not be distinguished from one that does not read (B8).
    """
    if connection.family in (socket.AF_INET, socket.AF_INET6) and _NOTSENT_LOWAT is not None:
        # Bytes that were sent and not acknowledged do not count, so fast peers are not slowed down.
        connection.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _KERNEL_BYTES)
    else:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES)


# On trio


class _TrioByteStream:
    def __init__(self, connection: socket.socket, nursery: Nursery) -> None:
        self._socket = connection
        self._nursery = nursery
        # Bytes that the socket did not take at once
        self._unsent = memoryview(b"")
        self._nothing_unsent = trio.Event()
        self._lost: OSError | None = None

    @property
    def unsent_bytes(self) -> int:
        return len(self._unsent)

    async def receive(self) -> bytes:
        while self._socket.fileno() >= 0:
            try:
                await trio.lowlevel.wait_readable(self._socket)
                return self._socket.recv(READ_BYTES)
            except BlockingIOError:
                continue
            except (OSError, trio.ClosedResourceError):
                break
        return b""

    def write(self, data: bytes) -> bool:
        if self._lost is not None:
            raise self._lost
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent == len(data):
            return True
        self._unsent = memoryview(data)[sent:]
        self._nothing_unsent = trio.Event()
        self._nursery.start_soon(self._send_rest)
        return False

    async def _send_rest(self) -> None:
        # Shielded, since a cancelled participant still closes in order; `abort` ends it.
        with trio.CancelScope(shield=True):
            while self._unsent:
                try:
                    await trio.lowlevel.wait_writable(self._socket)
                    self._unsent = self._unsent[self._socket.send(self._unsent) :]
                except BlockingIOError:
                    continue
                except (OSError, trio.ClosedResourceError) as error:
                    self._lost = self._lost or ConnectionError(str(error))
                    break
        self._unsent = memoryview(b"")
        self._nothing_unsent.set()

    async def drain(self) -> None:
        if self._unsent:
            await self._nothing_unsent.wait()
        if self._lost is not None:
            raise self._lost

    def write_eof(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        if self._socket.fileno() >= 0:
            self._lost = self._lost or ConnectionError("the connection was closed here")
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


async def _open_on_trio(connection: socket.socket, nursery: Nursery) -> ByteStream:
    return _TrioByteStream(connection, nursery)


async def _connect_tcp_on_trio(host: str, port: int, nursery: Nursery) -> ByteStream:
    return await _detach(await trio.open_tcp_stream(host, port), nursery)


async def _connect_unix_on_trio(path: str, nursery: Nursery) -> ByteStream:
    return await _detach(await trio.open_unix_socket(path), nursery)


async def _detach(stream: trio.SocketStream, nursery: Nursery) -> ByteStream:
    return await open_byte_stream(socket.socket(fileno=stream.socket.detach()), nursery)


# On asyncio


class _AsyncioByteStream(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._lost: Exception | None = None
        # Received bytes
        self._received: list[bytes] = []
        self._received_bytes = 0
        self._ended = False
        self._paused_reading = False
        self._arrival: asyncio.Future[None] | None = None
        # Sending
        self._may_write = True
        self._departure: asyncio.Future[None] | None = None

    @property
    def unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size()

    async def receive(self) -> bytes:
        while not self._received:
            if self._ended:
                return b""
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        data = self._received[0] if len(self._received) == 1 else b"".join(self._received)
        self._received.clear()
        self._received_bytes = 0
        if self._paused_reading:
            self._paused_reading = False
            self._transport.resume_reading()
        return data

    def write(self, data: bytes) -> bool:
        if self._lost is not None:
            raise self._lost
        self._transport.write(data)
        return self._may_write

    async def drain(self) -> None:
        while not self._may_write and self._lost is None:
            self._departure = asyncio.get_running_loop().create_future()
            await self._departure
        if self._lost is not None:
            raise self._lost

    def write_eof(self) -> None:
        if self._lost is None:
            with suppress(OSError):
                self._transport.write_eof()
            self._lost = ConnectionError("the connection was closed here")

    def abort(self) -> None:
        self._transport.abort()
        self._end(ConnectionError("the connection was closed here"))

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an instance on uvloop.
        self._transport = cast("asyncio.Transport", transport)
        # With a larger limit, uvloop would keep bytes until the end of the tick; and writers have
        # a queue of their own.
        self._transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        self._received.append(data)
        self._received_bytes += len(data)
        if self._received_bytes >= READ_BYTES and not self._paused_reading:
            self._paused_reading = True
            self._transport.pause_reading()
        _wake(self._arrival)

    def eof_received(self) -> bool:
        self._ended = True
        _wake(self._arrival)
        return True  # we may still have something to send

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or ConnectionError("the connection is closed"))

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        _wake(self._departure)

    def _end(self, why: Exception) -> None:
        self._lost = self._lost or why
        self._ended = True
        _wake(self._arrival)
        _wake(self._departure)


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


async def _open_on_asyncio(connection: socket.socket, _: Nursery) -> ByteStream:
    loop = asyncio.get_running_loop()
    _transport, stream = await loop.connect_accepted_socket(_AsyncioByteStream, connection)
    return stream


async def _connect_tcp_on_asyncio(host: str, port: int, _: Nursery) -> ByteStream:
    loop = asyncio.get_running_loop()
    _transport, stream = await loop.create_connection(_AsyncioByteStream, host, port)
    return stream


async def _connect_unix_on_asyncio(path: str, _: Nursery) -> ByteStream:
    loop = asyncio.get_running_loop()
    _transport, stream = await loop.create_unix_connection(_AsyncioByteStream, path)
    return stream


_OPEN: Final[dict[str, Callable[[socket.socket, Nursery], Awaitable[ByteStream]]]] = {
    "trio": _open_on_trio,
    "asyncio": _open_on_asyncio,
}
_CONNECT_TCP: Final[dict[str, Callable[[str, int, Nursery], Awaitable[ByteStream]]]] = {
    "trio": _connect_tcp_on_trio,
    "asyncio": _connect_tcp_on_asyncio,
}
_CONNECT_UNIX: Final[dict[str, Callable[[str, Nursery], Awaitable[ByteStream]]]] = {
    "trio": _connect_unix_on_trio,
    "asyncio": _connect_unix_on_asyncio,
}
