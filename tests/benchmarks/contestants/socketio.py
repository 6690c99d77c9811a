"""Socket.IO's calls through a server that forwards them: python-socketio."""

from __future__ import annotations

import asyncio
from typing import Any

import socketio
from aiohttp import web

from .base import Control, free_port, run_rounds


def server(control: Control) -> None:
    async def main() -> None:
        forwarder = socketio.AsyncServer(async_mode="aiohttp", transports=["websocket"])
        callees: list[str] = []

        async def answer(sid: str) -> None:
            callees.append(sid)

        async def echo(sid: str, payload: str) -> Any:
            return await forwarder.call("echo", payload, to=callees[0], timeout=60)

        forwarder.on("answer", answer)
        forwarder.on("echo", echo)
        app = web.Application()
        forwarder.attach(app)
        runner = web.AppRunner(app)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        control.ready(f"http://127.0.0.1:{port}")
        await asyncio.Event().wait()

    asyncio.run(main())


def callee(control: Control) -> None:
    async def main() -> None:
        client = await connect(control.address)

        async def echo(payload: str) -> str:
            return payload

        client.on("echo", echo)
        await client.call("answer")
        control.ready()
        await client.wait()

    asyncio.run(main())


def caller(control: Control) -> None:
    async def main() -> None:
        client = await connect(control.address)

        async def call(payload: str) -> str:
            answer: str = await client.call("echo", payload, timeout=60)
            return answer

        await run_rounds(control, call)
        await client.disconnect()

    asyncio.run(main())


async def connect(address: str) -> Any:
    client = socketio.AsyncClient()
    await client.connect(address, transports=["websocket"])
    return client
