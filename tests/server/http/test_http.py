"""HTTP as `serve` speaks it: what goes over a bare socket, and what it may take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import anyio.abc
import h11
import pytest
from attrs import frozen
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from trio_rpc.server.http.connection import HttpConnection, HttpLimits, response

from ...links.web import serve_app
from ...net.test_handshakes import unlimited
from ...support.byte_streams import FullByteStream
from ...support.serving import port_of

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

GET: Final = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
POST: Final = b"POST /echo HTTP/1.1\r\nHost: test\r\n"
LATE: Final = "did not come within 0.2 s"


@frozen
class Answer:
    status: int
    body: str
    headers: dict[bytes, bytes]


class Peer:
    """A client that says what it likes, and understands HTTP."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self.stream = stream
        self._http = h11.Connection(h11.CLIENT)

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    async def receive_answer(self, method: str = "GET") -> Answer:
        # h11 wants to have sent what is answered.
        self._http.send(h11.Request(method=method, target="/", headers=[("host", "test")]))
        self._http.send(h11.EndOfMessage())
        head, body = await self._receive(), b""
        while isinstance(head, h11.InformationalResponse):
            head = await self._receive()
        assert isinstance(head, h11.Response)
        while isinstance(event := await self._receive(), h11.Data):
            body += event.data
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        return Answer(head.status_code, body.decode(), dict(head.headers))

    async def _receive(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            try:
                self._http.receive_data(await self.stream.receive())
            except anyio.EndOfStream:
                self._http.receive_data(b"")
        return event

    async def receive_end(self) -> bytes:
        """Receive everything else until the server has closed the connection."""
        rest = b""
        try:
            while True:
                rest += await self.stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return rest


@asynccontextmanager
async def talking_to(app: Any, **limits: Any) -> AsyncIterator[Peer]:
    async with (
        serve_app(app, **limits) as url,
        await anyio.connect_tcp("127.0.0.1", port_of(url)) as stream,
    ):
        yield Peer(stream)


async def home(_request: Request) -> Response:
    return PlainTextResponse("home")


async def echo(request: Request) -> Response:
    return PlainTextResponse(await request.body())


async def nothing(_request: Request) -> Response:
    return Response(status_code=204)


async def parts(_request: Request) -> Response:
    async def produce() -> AsyncIterator[str]:
        for part in ("one, ", "two, ", "three"):
            yield part

    return StreamingResponse(produce())


async def failing(_request: Request) -> Response:
    raise ValueError("a secret")


async def failing_halfway(_request: Request) -> Response:
    async def produce() -> AsyncIterator[str]:
        yield "one, "
        raise ValueError("a secret")

    return StreamingResponse(produce())


APP: Final = Starlette(
    routes=[
        Route("/", home),
        Route("/echo", echo, methods=["POST"]),
        Route("/nothing", nothing),
        Route("/parts", parts),
        Route("/failing", failing),
        Route("/failing_halfway", failing_halfway),
    ]
)


# Answers


async def test_a_request_is_answered_with_a_date_and_nothing_about_the_server() -> None:
    async with talking_to(APP) as peer:
        await peer.send(GET)
        answer = await peer.receive_answer()
    assert (answer.status, answer.body) == (200, "home")
    assert sorted(answer.headers) == [b"content-length", b"content-type", b"date"]


async def test_a_connection_is_kept_alive() -> None:
    async with talking_to(APP) as peer:
        for _ in range(3):
            await peer.send(GET)
            assert (await peer.receive_answer()).body == "home"


async def test_requests_that_come_at_once_are_answered_in_order() -> None:
    async with talking_to(APP) as peer:
        await peer.send(POST + b"Content-Length: 3\r\n\r\none" + GET + GET)
        assert [(await peer.receive_answer()).body for _ in range(3)] == ["one", "home", "home"]


async def test_a_connection_ends_when_the_peer_wants_it_to() -> None:
    async with talking_to(APP) as peer:
        await peer.send(GET[:-2] + b"Connection: close\r\n\r\n")
        assert (await peer.receive_answer()).body == "home"
        assert await peer.receive_end() == b""


async def test_a_head_has_no_body() -> None:
    async with talking_to(APP) as peer:
        await peer.send(b"HEAD" + GET[3:] + b"GET /nothing" + GET[5:] + GET)
        answer = await peer.receive_answer("HEAD")
        assert (answer.status, answer.headers[b"content-length"]) == (200, b"4")
        assert (await peer.receive_answer()).status == 204
        assert (await peer.receive_answer()).body == "home"


async def test_a_body_may_come_and_go_in_chunks() -> None:
    async with talking_to(APP) as peer:
        await peer.send(POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\non\r\n1\r\ne\r\n0\r\n\r\n")
        assert (await peer.receive_answer("POST")).body == "one"
        await peer.send(b"GET /parts" + GET[5:])
        answer = await peer.receive_answer()
        assert answer.body == "one, two, three"
        assert answer.headers[b"transfer-encoding"] == b"chunked"


async def test_who_waits_for_it_is_told_to_send_the_body() -> None:
    async with talking_to(APP) as peer:
        await peer.send(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert await peer.stream.receive() == b"HTTP/1.1 100 \r\n\r\n"
        await peer.send(b"one")
        assert (await peer.receive_answer("POST")).body == "one"


async def test_an_app_that_fails_answers_500_without_saying_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with talking_to(APP) as peer:
        await peer.send(b"GET /failing" + GET[5:])
        answer = await peer.receive_answer()
        assert (answer.status, answer.body) == (500, "Internal Server Error")
        await peer.send(GET)
        assert (await peer.receive_answer()).body == "home"
    assert [record.getMessage() for record in caplog.records] == ["the app failed on /failing"]


async def test_an_app_that_fails_halfway_cuts_its_answer_off() -> None:
    async with talking_to(APP) as peer:
        await peer.send(b"GET /failing_halfway" + GET[5:])
        with pytest.raises(h11.RemoteProtocolError, match="without sending complete message body"):
            await peer.receive_answer()


# Refusals


@pytest.mark.parametrize(
    ("data", "status", "text"),
    [
        (b"\x16\x03\x01\x02\0\r\n\r\n", 400, "illegal request line"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "Missing mandatory Host: header"),
        (GET[:-2] + b"X: " + b"x" * 9_000, 431, "Receive buffer too long"),
        (GET[:-2] + b"X: x\r\n" * 1_000, 431, "the request has more than 100 lines of headers"),
        (GET[:-2] + b"X: x\n" * 100 + b"\n", 431, "more than 100 lines of headers"),
        (GET[:-2] + b"X: x\r\n" + b" x\n" * 99 + b"\r\n", 431, "more than 100 lines of headers"),
        (GET[:-2], 408, f"the request {LATE}"),
        (b"G", 408, f"the request {LATE}"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400, "illegal chunk header"),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501, "Only Transfer-Encoding: chunked"),
    ],
    ids=[
        "TLS",
        "no host",
        "endless header",
        "endless headers",
        "a header too many",
        "a line too many",
        "half a head",
        "one byte",
        "broken chunk",
        "other encoding",
    ],
)
async def test_what_is_too_much_too_late_or_no_http_is_refused_and_is_the_last(
    data: bytes, status: int, text: str
) -> None:
    limits = {"max_head_bytes": 8_000, "request_timeout": 0.2}
    async with talking_to(APP, **limits) as peer:
        await peer.send(data)
        answer = await peer.receive_answer("POST")
        assert answer.status == status
        assert text in answer.body
        assert answer.headers[b"connection"] == b"close"
        assert await peer.receive_end() == b""


@pytest.mark.parametrize("requests", [0, 1])
async def test_a_connection_without_a_request_is_closed_without_a_response(requests: int) -> None:
    async with talking_to(APP, request_timeout=0.2) as peer:
        for _ in range(requests):
            await peer.send(GET)
            assert (await peer.receive_answer()).body == "home"
        assert await peer.receive_end() == b""


async def test_a_head_that_trickles_gets_no_more_time() -> None:
    async with talking_to(APP, request_timeout=0.2) as peer, anyio.create_task_group() as trickling:

        async def trickle() -> None:
            await peer.send(GET[:-2])
            while True:
                await peer.send(b"X: x\r\n")
                await anyio.sleep(0.02)

        trickling.start_soon(trickle)
        assert (await peer.receive_answer()).status == 408
        trickling.cancel_scope.cancel()


async def test_a_body_that_nobody_reads_does_not_end_the_connection_if_it_has_come() -> None:
    head = b"GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n"
    stream = FullByteStream(head + bytes(100_000) + GET)
    connection = HttpConnection(stream, HttpLimits(), unlimited())
    for kept_alive in (True, False):
        assert await connection.receive_request() is not None
        close = [] if kept_alive else [(b"connection", b"close")]
        await connection.send(response(204, close), h11.EndOfMessage())
        assert connection.is_kept_alive() is kept_alive


async def test_half_a_body_is_a_disconnect_for_the_app() -> None:
    disconnected = anyio.Event()

    async def read(request: Request) -> Response:
        try:
            return PlainTextResponse(await request.body())
        except ClientDisconnect:
            disconnected.set()
            raise

    app = Starlette(routes=[Route("/echo", read, methods=["POST"])])
    async with talking_to(app) as peer:
        await peer.send(POST + b"Content-Length: 3\r\n\r\non")
        await peer.stream.send_eof()
        assert (await peer.receive_answer("POST")).status == 400
        await disconnected.wait()


async def test_the_app_is_told_that_nobody_waits_for_its_answer() -> None:
    waiting, disconnected = anyio.Event(), anyio.Event()

    async def wait(request: Request) -> Response:
        await request.body()
        waiting.set()
        assert (await request.receive())["type"] == "http.disconnect"
        disconnected.set()
        return PlainTextResponse("nobody hears this")

    app = Starlette(routes=[Route("/echo", wait, methods=["POST"])])
    async with talking_to(app) as peer:
        await peer.send(POST + b"Content-Length: 3\r\n\r\none")
        await waiting.wait()
        await peer.stream.aclose()
        await disconnected.wait()


async def test_what_comes_while_the_app_waits_for_a_disconnect_is_answered_later() -> None:
    async def wait(request: Request) -> Response:
        body = await request.body()
        with anyio.move_on_after(0.1):
            await request.receive()
        return PlainTextResponse(body)

    app = Starlette(routes=[Route("/echo", wait, methods=["POST"])])
    async with talking_to(app) as peer:
        for number in (b"one", b"two"):
            await peer.send(POST + b"Content-Length: 3\r\n\r\n" + number)
        assert [(await peer.receive_answer("POST")).body for _ in range(2)] == ["one", "two"]


# Those who do not read


async def test_a_response_that_nobody_takes_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    given_up = anyio.Event()

    async def produce() -> AsyncIterator[bytes]:
        while True:
            yield bytes(64 * 1024)

    async def app(*asgi: Any) -> None:
        try:
            await StreamingResponse(produce())(*asgi)
        finally:
            given_up.set()

    async with talking_to(app, request_timeout=0.2) as peer:
        await peer.send(GET)
        await given_up.wait()
    assert caplog.records == []
