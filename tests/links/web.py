"""Web servers for the tests of links, each on a loopback port of its own."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from trio_rpc import concurrency
from trio_rpc.server.http.connection import HttpLimits
from trio_rpc.server.http.server import serve_http


@asynccontextmanager
async def serve_app(app: Any, **limits: Any) -> AsyncIterator[str]:
    """Serve an ASGI app for as long as the block runs; yields its URL, `ws://…`."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    http_limits = HttpLimits(**{"graceful_timeout": 0.2, **limits})
    stop = concurrency.current().event()
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(serve_http, app, listener, stop, http_limits)
        try:
            yield f"ws://127.0.0.1:{port}"
        finally:
            stop.set()


def echo_app() -> Starlette:
    """Return a WebSocket server that agrees on no subprotocol and echoes messages."""

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_bytes(await websocket.receive_bytes())
        except WebSocketDisconnect:
            pass

    return Starlette(routes=[WebSocketRoute("/rtc/v1", echo)])


def refusing_app(status: int, text: str) -> Starlette:
    """Return a web server that answers each WebSocket request with an HTTP status."""

    async def refuse(websocket: WebSocket) -> None:
        await websocket.send_denial_response(PlainTextResponse(text, status_code=status))

    return Starlette(routes=[WebSocketRoute("/{path:path}", refuse)])


def unused_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
