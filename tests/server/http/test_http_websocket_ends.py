"""The end of WebSockets of our HTTP server, and peers that do not read, or send much."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest
from starlette.websockets import WebSocket, WebSocketDisconnect
from wsproto.events import BytesMessage, CloseConnection

from trio_rpc.server.http.asgi_websocket import OUR_WEBSOCKET

from ...links.web import serve_app
from ...support.raw_sockets import RawWebSocket, connect_websocket
from .websockets import (
    MASK,
    app_of,
    close_at_once,
    echo,
    fail,
    forget,
    frame,
    receive_message,
    talking_to,
)

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


# The end


async def test_the_app_gets_the_close_reason_and_the_close_is_answered() -> None:
    seen: list[Any] = []

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        seen.append(await websocket.receive())
        seen.append(await websocket.receive())

    async with talking_to(endpoint) as websocket:
        await websocket.send(BytesMessage(b"last"))
        await websocket.send(CloseConnection(4000, "enough of it"))
        assert await websocket.receive_close() == (4000, "enough of it")
        with pytest.raises(anyio.EndOfStream):
            await websocket.stream.receive()
    assert seen == [
        {"type": "websocket.receive", "bytes": b"last"},
        {"type": "websocket.disconnect", "code": 4000, "reason": "enough of it"},
    ]


async def test_the_app_is_informed_that_the_peer_vanished() -> None:
    seen: list[Any] = []
    over = anyio.Event()

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        seen.append(await websocket.receive())
        with pytest.raises(WebSocketDisconnect):
            await websocket.send_bytes(b"too late")
        over.set()

    async with serve_app(app_of(endpoint)) as url:
        async with connect_websocket(url, None):
            pass
        await over.wait()
    assert seen == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


async def close_with_a_reason(websocket: WebSocket) -> None:
    await websocket.close(4001, "that was it")


@pytest.mark.parametrize(
    ("endpoint", "end"),
    [
        (close_with_a_reason, (4001, "that was it")),
        (close_at_once, (1000, "")),
        (forget, (1000, "")),
        (fail, (1011, "")),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_the_peer_is_told_how_the_app_ended(
    endpoint: Callable[[WebSocket], Any], end: tuple[int, str]
) -> None:
    async def accept_first(websocket: WebSocket) -> None:
        await websocket.accept()
        await endpoint(websocket)

    async with talking_to(accept_first) as websocket:
        assert await websocket.receive_close() == end


async def test_a_peer_that_does_not_close_in_turn_is_not_waited_for() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    async with talking_to(endpoint, {"close_timeout": 0.2}) as websocket:
        assert isinstance(await websocket.receive(), CloseConnection)
        with suppress(anyio.BrokenResourceError):
            while True:
                await websocket.stream.send(b"\x82\x80" + MASK)
                await anyio.sleep(0.02)


# Those who do not read


async def test_sending_to_a_peer_that_does_not_read_can_be_cancelled() -> None:
    cancelled, sent = anyio.Event(), 0

    async def endpoint(websocket: WebSocket) -> None:
        nonlocal sent
        await websocket.accept()
        with anyio.move_on_after(0.2) as scope:
            while True:
                await websocket.send_bytes(bytes(64 * 1024))
                sent += 1
        if scope.cancelled_caught:
            cancelled.set()

    async with talking_to(endpoint):
        await cancelled.wait()
    assert 0 < sent < 1_000


async def test_who_does_not_read_the_answers_to_its_pings_is_not_read_either() -> None:
    async def send_pings(websocket: RawWebSocket) -> int:
        sent = 0
        pings = frame(0x89, b"p" * 125) * 1_000
        while True:
            with anyio.move_on_after(0.5) as scope:
                await websocket.stream.send(pings)
            if scope.cancelled_caught:
                return sent
            sent += len(pings)

    async with talking_to(echo) as websocket:
        assert await send_pings(websocket) < 50_000_000


# Many who send


async def test_messages_of_several_tasks_arrive_whole_and_each_tasks_in_order() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        send_bytes_nowait = websocket.scope["extensions"][OUR_WEBSOCKET]["send_bytes_nowait"]

        async def send(task: int) -> None:
            for number in range(20):
                message = bytes([task, number]) * 20_000
                if number % 2 or not send_bytes_nowait(message):
                    await websocket.send_bytes(message)

        async with anyio.create_task_group() as task_group:
            for task in range(4):
                task_group.start_soon(send, task)

    async with talking_to(endpoint) as websocket:
        received = [await receive_message(websocket) for _ in range(80)]
    for task in range(4):
        own = [message for message in received if message[0] == task]
        assert own == [bytes([task, number]) * 20_000 for number in range(20)]


async def test_sending_at_once_refuses_while_the_peer_does_not_read() -> None:
    outcomes: list[Any] = []

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        send_bytes_nowait = websocket.scope["extensions"][OUR_WEBSOCKET]["send_bytes_nowait"]
        while send_bytes_nowait(bytes(64 * 1024)):
            outcomes.append(True)
        outcomes.append(send_bytes_nowait(b"not sent"))
        await websocket.send_bytes(b"last")
        await websocket.close()
        with pytest.raises(OSError, match="closed"):
            send_bytes_nowait(b"too late")
        outcomes.append("closed")

    async with talking_to(endpoint) as websocket:
        received = [await receive_message(websocket)]
        while received[-1] != b"last":
            received.append(await receive_message(websocket))
        assert await websocket.receive_close() == (1000, "")
    assert outcomes[-2:] == [False, "closed"]
    assert received == [bytes(64 * 1024)] * (len(received) - 1) + [b"last"]
    assert len(received) - 1 == outcomes.count(True)
