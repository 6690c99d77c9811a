"""The limits of an HTTP connection before it has presented a valid token."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...links.web import serve_app
from ...support.serving import port_of
from .test_http import APP, GET, Peer, home, talking_to

pytestmark = [pytest.mark.anyio, pytest.mark.real_time, pytest.mark.rule("B11")]


@pytest.mark.parametrize("size", [1_000, 31_999, 32_000, 32_001, 200_000])
async def test_a_head_of_the_largest_size_is_taken_and_one_byte_more_is_not(size: int) -> None:
    head = GET[:-2] + b"X: "
    async with talking_to(APP, max_head_bytes=32_000) as peer:
        # All of it comes at once, and so does another request.
        await peer.send(GET + head + b"x" * (size - len(head) - 4) + b"\r\n\r\n" + GET)
        assert (await peer.receive_answer()).status == 200
        answer = await peer.receive_answer()
        if size <= 32_000:
            assert answer.status == 200
            assert (await peer.receive_answer()).status == 200
        else:
            assert (answer.status, answer.body) == (431, "Receive buffer too long")
            assert await peer.receive_end() == b""


async def test_a_head_may_have_a_hundred_headers() -> None:
    full = GET[:-2] + b"X: x\r\n" * 99 + b"\r\n"
    async with talking_to(APP) as peer:
        await peer.send(full + full + GET * 100)
        for _ in range(102):
            assert (await peer.receive_answer()).status == 200


async def test_of_many_that_send_no_request_the_oldest_are_closed() -> None:
    limits = {"max_handshakes": 20, "request_timeout": 60}
    async with serve_app(APP, **limits) as url, AsyncExitStack() as stack:
        peers: list[Peer] = []
        for number in range(100):
            stream = await anyio.connect_tcp("127.0.0.1", port_of(url))
            peers.append(Peer(await stack.enter_async_context(stream)))
            if number % 2:
                await peers[-1].send(GET[:-2])
        latest = peers.pop()
        await latest.send(GET[-2:])
        assert (await latest.receive_answer()).body == "home"
        for number, peer in enumerate(peers[:80]):
            if number % 2:
                answer = await peer.receive_answer()
                assert (answer.status, answer.body) == (503, "20 others wait to join: try again")
            assert await peer.receive_end() == b""


async def test_those_that_take_no_answer_do_not_keep_out_others() -> None:
    async def large(_request: Request) -> Response:
        return Response(bytes(20_000_000))

    app = Starlette(routes=[Route("/", home), Route("/large", large)])
    limits = {"max_handshakes": 10, "request_timeout": 60}
    async with serve_app(app, **limits) as url, AsyncExitStack() as stack:
        peers: list[Peer] = []
        for _ in range(20):
            stream = await anyio.connect_tcp("127.0.0.1", port_of(url))
            peers.append(Peer(await stack.enter_async_context(stream)))
            await peers[-1].send(b"GET /large" + GET[5:])
            # A part of it is there: the server waits for us to take the rest.
            assert await peers[-1].stream.receive(1)
        for peer in peers[:10]:
            assert len(await peer.receive_end()) < 20_000_000
