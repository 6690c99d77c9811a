"""The server's stream over a WebSocket that is closed in the same moment."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from starlette.websockets import WebSocket, WebSocketDisconnect

from trio_rpc.links import LinkClosedError
from trio_rpc.server.signalling import _StarletteStream

pytestmark = pytest.mark.anyio


async def accepted_stream(error: Exception) -> _StarletteStream:
    """Return a stream whose ASGI server raises `error` on each send."""

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        if message["type"] != "websocket.accept":
            raise error

    websocket = WebSocket({"type": "websocket", "headers": []}, receive, send)
    await websocket.accept()
    return _StarletteStream(websocket)


closed = pytest.mark.parametrize(
    "error",
    [
        OSError("a broken pipe"),
        RuntimeError("sent after close"),
        WebSocketDisconnect(1006),
        trio.BusyResourceError("another task is currently sending data"),
    ],
    ids=lambda error: type(error).__name__,
)


@closed
async def test_sending_tells_that_the_link_has_ended(error: Exception) -> None:
    stream = await accepted_stream(error)
    with pytest.raises(LinkClosedError, match=r"^the WebSocket is closed: "):
        await stream.send_message(b"a message")


@closed
async def test_closing_never_raises(error: Exception) -> None:
    stream = await accepted_stream(error)
    await stream.aclose("a reason")
    await stream.aclose("again")
