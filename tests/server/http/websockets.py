"""WebSockets of ASGI apps, and a client that scripts its side."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import wsproto.events
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from ...links.web import serve_app
from ...support.raw_sockets import RawWebSocket, connect_websocket

MASK: Final = b"\0\0\0\0"


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            await websocket.send({**message, "type": "websocket.send"})
    except WebSocketDisconnect:
        pass


def app_of(endpoint: Callable[[WebSocket], Any]) -> Starlette:
    return Starlette(routes=[WebSocketRoute("/rtc", endpoint)])


@asynccontextmanager
async def talking_to(
    endpoint: Callable[[WebSocket], Any], limits: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[RawWebSocket]:
    async with (
        serve_app(app_of(endpoint), **(limits or {})) as url,
        connect_websocket(url, None, **options) as websocket,
    ):
        yield websocket


async def receive_message(websocket: RawWebSocket) -> str | bytes:
    parts: list[Any] = []
    while True:
        event = await websocket.receive()
        assert isinstance(event, wsproto.events.Message), event
        parts.append(event.data)
        if event.message_finished:
            message: str | bytes = type(parts[0])().join(parts)
            return message


async def close_at_once(websocket: WebSocket) -> None:
    await websocket.close()


async def forget(_websocket: WebSocket) -> None:
    pass


async def fail(_websocket: WebSocket) -> None:
    raise ValueError("a secret")


def frame(head: int, data: bytes, length: bytes | None = None) -> bytes:
    """Encode a masked frame; `length` replaces the length byte."""
    return bytes([head]) + (length or bytes([0x80 | len(data)])) + MASK + data
