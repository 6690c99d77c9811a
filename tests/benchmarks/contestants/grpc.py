"""Unary calls over gRPC through a server that forwards them: grpcio's asyncio side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio

from .base import Control, run_rounds

_SERVICE: Final = "benchmarks.Benchmarks"
_TIMEOUT: Final = 60.0

Handler = Callable[[bytes, Any], Awaitable[bytes]]


def server(control: Control) -> None:
    async def main() -> None:
        callees: list[Any] = []

        async def answer(address: bytes, _context: Any) -> bytes:
            channel = grpc.aio.insecure_channel(address.decode())
            callees.append(channel.unary_unary(f"/{_SERVICE}/echo"))
            return b""

        async def echo(payload: bytes, _context: Any) -> bytes:
            response: bytes = await callees[0](payload, timeout=_TIMEOUT)
            return response

        grpc_server, address = await listen(answer=answer, echo=echo)
        control.ready(address)
        await grpc_server.wait_for_termination()

    asyncio.run(main())


def callee(control: Control) -> None:
    async def main() -> None:
        async def echo(payload: bytes, _context: Any) -> bytes:
            return payload.decode().encode()

        grpc_server, address = await listen(echo=echo)
        async with grpc.aio.insecure_channel(control.address) as channel:
            await channel.unary_unary(f"/{_SERVICE}/answer")(address.encode())
        control.ready()
        await grpc_server.wait_for_termination()

    asyncio.run(main())


def caller(control: Control) -> None:
    async def main() -> None:
        async with grpc.aio.insecure_channel(control.address) as channel:
            echo = channel.unary_unary(f"/{_SERVICE}/echo")

            async def call(payload: str) -> str:
                response: bytes = await echo(payload.encode(), timeout=_TIMEOUT)
                return response.decode()

            await run_rounds(control, call)

    asyncio.run(main())


async def listen(**handlers: Handler) -> tuple[Any, str]:
    """Start a server of these methods on a free port; return it, to be kept, and its address."""
    grpc_server = grpc.aio.server()
    methods = {
        name: grpc.unary_unary_rpc_method_handler(handler) for name, handler in handlers.items()
    }
    grpc_server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, methods),))
    port = grpc_server.add_insecure_port("127.0.0.1:0")
    await grpc_server.start()
    return grpc_server, f"127.0.0.1:{port}"
