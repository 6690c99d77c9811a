"""A floor: asyncio's bare sockets, with a program in C between them that passes bytes on."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Callable
from typing import Final

from .base import Control, free_port, keep_trying, run_rounds

#: What is in front of each payload: its length, and the number of the call.
_PREFIX: Final = struct.Struct("!II")


def server(control: Control) -> None:
    ports = free_port(), free_port()
    options = "bind=127.0.0.1,nodelay,reuseaddr"
    control.become(
        f"{ports[0]} {ports[1]}",
        *("socat", "-b", "262144", *(f"TCP-LISTEN:{port},{options}" for port in ports)),
    )


def callee(control: Control) -> None:
    async def main() -> None:
        port, _ = control.address.split()
        await connect(port, Connection.send)
        control.ready()
        await asyncio.Event().wait()

    asyncio.run(main())


def caller(control: Control) -> None:
    async def main() -> None:
        numbers = itertools.count()
        pending: dict[int, asyncio.Future[bytes]] = {}
        _, port = control.address.split()

        def answer(_connection: Connection, number: int, payload: bytes) -> None:
            pending.pop(number).set_result(payload)

        connection = await connect(port, answer)

        async def call(payload: str) -> str:
            number = next(numbers)
            future = pending[number] = asyncio.get_running_loop().create_future()
            connection.send(number, payload.encode())
            answer: str = (await future).decode()
            return answer

        await run_rounds(control, call)

    asyncio.run(main())


class Connection(asyncio.Protocol):
    """Numbered payloads over a socket."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, number: int, payload: bytes) -> None:
        self._transport.write(_PREFIX.pack(len(payload), number) + payload)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        position = 0
        while position + _PREFIX.size <= len(buffer):
            length, number = _PREFIX.unpack_from(buffer, position)
            end = position + _PREFIX.size + length
            if end > len(buffer):
                break
            self._receive(self, number, bytes(buffer[position + _PREFIX.size : end]))
            position = end
        del buffer[:position]


Receive = Callable[[Connection, int, bytes], object]


async def connect(port: str, receive: Receive) -> Connection:
    loop = asyncio.get_running_loop()
    _, connection = await keep_trying(
        lambda: loop.create_connection(lambda: Connection(receive), "127.0.0.1", int(port))
    )
    return connection
