"""Callers of hostile callees: a response is one, in time, text, and bounded (B4, B5, B6)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from trio_rpc import Room, RpcError

from ..support.scripted_server import ScriptedServer
from ..support.stream_packets import (
    deflated,
    peer,
    response_header,
    send_chunk,
    send_header,
    send_stream,
    send_trailer,
    server_with,
)

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def caller(**limits: Any) -> AsyncIterator[tuple[Room, ScriptedServer]]:
    room, server = Room(**limits), server_with(peer("bob"), peer("carol"))
    async with room.connect(server, "a token", reconnect=None):
        yield room, server


class Outcome:
    """The outcome of a call to "bob"."""

    def __init__(self) -> None:
        self.value: str | RpcError | None = None
        self.ended = anyio.Event()

    async def call(self, room: Room, response_timeout: float = 5.0) -> None:
        try:
            self.value = await room.local_participant.perform_rpc(
                destination_identity="bob",
                method="greet",
                payload="hi",
                response_timeout=response_timeout,
            )
        except RpcError as error:
            self.value = error
        self.ended.set()

    async def error(self) -> tuple[int, str | None]:
        await self.ended.wait()
        assert isinstance(self.value, RpcError), self.value
        return self.value.code, self.value.data


async def receive_request_id(server: ScriptedServer) -> str:
    packet = await server.expect_packet()
    return packet.stream_header.attributes["lk.rpc_request_id"]


@asynccontextmanager
async def calling(
    room: Room, server: ScriptedServer, **arguments: Any
) -> AsyncIterator[tuple[str, Outcome]]:
    outcome = Outcome()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: outcome.call(room, **arguments))
        yield await receive_request_id(server), outcome
        tasks.cancel_scope.cancel()


@pytest.mark.rule("B5", "C13")
async def test_a_response_stream_ends_with_its_call() -> None:
    async with caller() as (room, server), calling(room, server) as (request_id, outcome):
        header = response_header(request_id, None)
        send_header(server, header)
        send_chunk(server, 0, b"x" * 15_000, stream_id=header.stream_id)
        await server.settle(room)
        assert room.statistics().open_streams == 1
        assert room.statistics().held_bytes >= 15_000
        code, _ = await outcome.error()
        assert code in (1501, 1502)
        assert room.statistics().open_streams == 0
        assert room.statistics().held_bytes == 0
        for index in range(1, 100):
            send_chunk(server, index, b"x" * 15_000, stream_id=header.stream_id)
        await server.settle(room)
        assert room.statistics().held_bytes == 0


@pytest.mark.rule("B5", "C5")
async def test_a_call_has_one_response_stream() -> None:
    async with caller() as (room, server), calling(room, server) as (request_id, outcome):
        for number in range(1_000):
            header = response_header(request_id, None)
            header.stream_id = str(number)
            send_header(server, header)
            send_chunk(server, 0, b"x" * 1_000, stream_id=str(number))
        await server.settle(room)
        assert room.statistics().open_streams == 1
        assert room.statistics().held_bytes < 10_000
        send_trailer(server, stream_id="0")
        await outcome.ended.wait()
        assert outcome.value == "x" * 1_000


@pytest.mark.rule("S6")
@pytest.mark.parametrize("is_compressed", [False, True])
async def test_a_response_that_is_not_utf8_is_an_error(is_compressed: bool) -> None:
    content = b"\xff\xfe hello"
    async with caller() as (room, server), calling(room, server) as (request_id, outcome):
        if is_compressed:
            header = response_header(request_id, deflated(content), total_length=len(content))
            header.compression = 1  # type: ignore[assignment]
        else:
            header = response_header(request_id, content)
        send_header(server, header)
        assert await outcome.error() == (1500, "the response broke off: it is not UTF-8")
        assert room.statistics().held_bytes == 0


@pytest.mark.rule("B4", "B6", "S7")
async def test_a_response_that_is_a_bomb_stays_within_the_budget() -> None:
    async with caller(max_peer_bytes=500_000) as (room, server):
        async with calling(room, server) as (request_id, outcome):
            bomb = deflated(bytes(1_000_000))
            header = response_header(request_id, bomb, total_length=1_000_000)
            header.compression = 1  # type: ignore[assignment]
            send_header(server, header)
            code, data = await outcome.error()
            assert code == 1500
            assert data is not None
            assert data.endswith("the limit of 500,000 (max_peer_bytes)")
        assert room.statistics().held_bytes == 0


@pytest.mark.rule("B6")
async def test_a_large_compressed_response_is_inflated_by_its_caller() -> None:
    text = "carrots and peas, " * 100_000
    async with caller() as (room, server), calling(room, server) as (request_id, outcome):
        content = deflated(text.encode())
        header = response_header(request_id, None, total_length=len(text))
        header.compression = 1  # type: ignore[assignment]
        send_stream(server, header, [content])
        await outcome.ended.wait()
        assert outcome.value == text
        assert room.statistics().held_bytes == 0


@pytest.mark.rule("B4", "S7")
@pytest.mark.parametrize("form", ["inline", "chunked"])
@pytest.mark.parametrize("limit", ["max_peer_bytes", "max_stream_bytes"])
async def test_a_response_over_a_limit_ends_its_call(form: str, limit: str) -> None:
    content = b"x" * 10_000
    async with caller(**{limit: 9_000}) as (room, server):
        async with calling(room, server) as (request_id, outcome):
            if form == "inline":
                send_header(server, response_header(request_id, content))
            else:
                send_stream(server, response_header(request_id, None), [content])
            code, data = await outcome.error()
            assert code == 1500
            assert data is not None
            assert data.startswith("the response broke off: ")
            assert data.endswith(f"({limit})")
        assert room.statistics().held_bytes == 0


@pytest.mark.rule("B4")
async def test_one_inline_response_of_many_counts_and_nothing_of_them_is_held() -> None:
    async with caller() as (room, server), calling(room, server) as (request_id, outcome):
        header = response_header(request_id, b"x" * 10_000)
        for _ in range(3):
            send_header(server, header)
        send_header(server, response_header(request_id, b""))
        await outcome.ended.wait()
        assert outcome.value == "x" * 10_000
        assert room.statistics().held_bytes == 0
