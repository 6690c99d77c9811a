"""Request and reply over NATS: nats-py on nats-server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import nats
import uvloop

from .base import Control, free_port, keep_trying, run_rounds


def server(control: Control, *, loop: str) -> None:
    port = free_port()
    command = ("nats-server", "--addr", "127.0.0.1", "--port", str(port))
    control.become(f"nats://127.0.0.1:{port}", *command)


def callee(control: Control, *, loop: str) -> None:
    async def main() -> None:
        client = await keep_trying(lambda: connect(control.address))

        async def echo(message: Any) -> None:
            await message.respond(message.data.decode().encode())

        await client.subscribe("echo", cb=echo)
        await client.flush()
        control.ready()
        await asyncio.Event().wait()

    run(main, loop)


def caller(control: Control, *, loop: str) -> None:
    async def main() -> None:
        client = await connect(control.address)

        async def call(payload: str) -> str:
            message = await client.request("echo", payload.encode(), timeout=60)
            answer: str = message.data.decode()
            return answer

        await run_rounds(control, call)

    run(main, loop)


async def connect(address: str) -> Any:
    return await nats.connect(address, allow_reconnect=False)


def run(main: Callable[[], Coroutine[Any, Any, None]], loop: str) -> None:
    loop_factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
