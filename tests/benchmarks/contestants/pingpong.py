"""A floor: two processes with blocking sockets, nobody between them, one call at a time."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

from .base import Control, run_rounds

#: What is in front of each payload: its length.
_PREFIX: Final = struct.Struct("!I")


def callee(control: Control) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        control.ready(str(listener.getsockname()[1]))
        connection, _ = listener.accept()
        with connection:
            while True:
                send(connection, receive(connection))


def caller(control: Control) -> None:
    with socket.create_connection(("127.0.0.1", int(control.address))) as connection:

        async def call(payload: str) -> str:
            send(connection, payload.encode())
            return receive(connection).decode()

        asyncio.run(run_rounds(control, call))


def send(connection: socket.socket, payload: bytes) -> None:
    connection.sendall(_PREFIX.pack(len(payload)) + payload)


def receive(connection: socket.socket) -> bytes:
    return read(connection, *_PREFIX.unpack(read(connection, _PREFIX.size)))


def read(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = connection.recv(length - len(data))
        if not piece:
            raise EOFError("the other side has gone")
        data += piece
    return data
