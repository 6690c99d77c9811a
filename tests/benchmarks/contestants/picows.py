"""A floor: WebSockets of picows, which is in Cython, with a server that passes frames on."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Callable
from typing import Any, Final

import picows

from .base import Control, free_port, run_rounds

#: What is in front of each payload: the number of the call.
_NUMBER: Final = struct.Struct("!I")
_CALLEE, _CALLER = b"/callee", b"/caller"


class Listener(picows.WSListener):  # type: ignore[misc]
    """A receiver of the frames of a WebSocket.

    Attributes:
        transport: The WebSocket.
    """

    def __init__(self, receive: Callable[[Any, bytes], object]) -> None:
        self._receive = receive

    def on_ws_connected(self, transport: Any) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type == picows.WSMsgType.BINARY:
            self._receive(transport, frame.get_payload_as_bytes())


def send(transport: Any, message: bytes) -> None:
    transport.send(picows.WSMsgType.BINARY, message)


def server(control: Control) -> None:
    async def main() -> None:
        sides: dict[bytes, Listener] = {}

        def listener(request: Any) -> Listener:
            other = _CALLER if request.path == _CALLEE else _CALLEE

            def forward(_transport: Any, message: bytes) -> None:
                send(sides[other].transport, message)

            side = sides[request.path] = Listener(forward)
            return side

        port = free_port()
        await picows.ws_create_server(listener, "127.0.0.1", port)
        control.ready(f"ws://127.0.0.1:{port}")
        await asyncio.Event().wait()

    asyncio.run(main())


def callee(control: Control) -> None:
    async def main() -> None:
        await connect(control, _CALLEE, send)
        control.ready()
        await asyncio.Event().wait()

    asyncio.run(main())


def caller(control: Control) -> None:
    async def main() -> None:
        numbers = itertools.count()
        pending: dict[int, asyncio.Future[bytes]] = {}

        def answer(_transport: Any, message: bytes) -> None:
            (number,) = _NUMBER.unpack_from(message)
            pending.pop(number).set_result(message[_NUMBER.size :])

        transport = await connect(control, _CALLER, answer)

        async def call(payload: str) -> str:
            number = next(numbers)
            future = pending[number] = asyncio.get_running_loop().create_future()
            send(transport, _NUMBER.pack(number) + payload.encode())
            answer: str = (await future).decode()
            return answer

        await run_rounds(control, call)

    asyncio.run(main())


async def connect(control: Control, path: bytes, receive: Callable[[Any, bytes], object]) -> Any:
    url = control.address + path.decode()
    transport, _ = await picows.ws_connect(lambda: Listener(receive), url)
    return transport
