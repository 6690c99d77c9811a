"""A floor: sockets of ZeroMQ, with a ROUTER between two DEALERs, through pyzmq's asyncio side."""

from __future__ import annotations

import asyncio
import itertools
import struct
from typing import Any, Final

import zmq
import zmq.asyncio

from .base import Control, run_rounds

#: The frame in front of a payload: the number of the call.
_NUMBER: Final = struct.Struct("!I")
_CALLEE, _CALLER = b"callee", b"caller"


def server(control: Control) -> None:
    async def main() -> None:
        router = zmq.asyncio.Context().socket(zmq.ROUTER)
        port = router.bind_to_random_port("tcp://127.0.0.1")
        control.ready(f"tcp://127.0.0.1:{port}")
        while True:
            sender, destination, *rest = await router.recv_multipart()
            await router.send_multipart([destination, sender, *rest])

    asyncio.run(main())


def callee(control: Control) -> None:
    async def main() -> None:
        dealer = connect(control, _CALLEE)
        # So that the router knows it before it is called.
        await dealer.send_multipart([_CALLEE, b""])
        await dealer.recv_multipart()
        control.ready()
        while True:
            await dealer.send_multipart(await dealer.recv_multipart())

    asyncio.run(main())


def caller(control: Control) -> None:
    async def main() -> None:
        numbers = itertools.count()
        pending: dict[bytes, asyncio.Future[bytes]] = {}
        dealer = connect(control, _CALLER)

        async def receive() -> None:
            while True:
                _, number, payload = await dealer.recv_multipart()
                pending.pop(number).set_result(payload)

        async def call(payload: str) -> str:
            number = _NUMBER.pack(next(numbers))
            future = pending[number] = asyncio.get_running_loop().create_future()
            await dealer.send_multipart([_CALLEE, number, payload.encode()])
            answer: str = (await future).decode()
            return answer

        receiving = asyncio.create_task(receive())
        await run_rounds(control, call)
        receiving.cancel()

    asyncio.run(main())


def connect(control: Control, identity: bytes) -> Any:
    dealer = zmq.asyncio.Context().socket(zmq.DEALER)
    dealer.identity = identity
    dealer.connect(control.address)
    return dealer
