"""WebSockets as `serve` speaks them: the handshake, what a message may be, and the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import anyio
import pytest
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.websockets import WebSocket
from wsproto.events import BytesMessage, Ping, Pong, TextMessage

from ...links.web import serve_app
from ...support.raw_sockets import RefusedError, connect_websocket
from ...support.serving import port_of
from ...support.tokens import make_token
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


#: What Chromium and Firefox offer.
BROWSERS_OFFER: Final = b"permessage-deflate; client_max_window_bits"


# The handshake


async def test_a_browsers_offer_to_compress_is_answered_without_it() -> None:
    async with talking_to(echo, extensions=BROWSERS_OFFER) as websocket:
        await websocket.send(BytesMessage(b"hello"))
        assert await receive_message(websocket) == b"hello"


@pytest.mark.rule("V1")
async def test_a_room_admits_clients_that_offer_to_compress(url: str) -> None:
    async with connect_websocket(url, make_token("alice"), extensions=BROWSERS_OFFER) as alice:
        assert isinstance(await alice.receive(), BytesMessage)


async def test_the_app_is_told_of_the_subprotocols_and_the_choice_is_passed_on() -> None:
    offered: list[str] = []

    async def endpoint(websocket: WebSocket) -> None:
        offered.extend(websocket.scope["subprotocols"])
        await websocket.accept("second", headers=[(b"x-more", b"yes")])

    async with serve_app(app_of(endpoint)) as url:
        stream = await anyio.connect_tcp("127.0.0.1", port_of(url))
        async with stream:
            await stream.send(UPGRADE + b"Sec-WebSocket-Protocol: first, second\r\n\r\n")
            head = (await stream.receive()).partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
    assert offered == ["first", "second"]
    assert head[0] == b"http/1.1 101 "
    assert b"sec-websocket-protocol: second" in head
    assert b"x-more: yes" in head
    assert b"sec-websocket-accept: icx+yqv66kxgm0fcwalwlflwtai=" in head


UPGRADE: Final = (
    b"GET /rtc HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


@pytest.mark.parametrize(
    ("upgrade", "text"),
    [
        (UPGRADE.replace(b": 13", b": 12"), "invalid Sec-WebSocket-Version header: 12"),
        (UPGRADE.replace(b"AAA=", b"A="), "invalid Sec-WebSocket-Key header"),
        (UPGRADE[: UPGRADE.index(b"Sec-WebSocket-Key")], "missing Sec-WebSocket-Key header"),
        (UPGRADE + b"Sec-WebSocket-Protocol: a b\r\n", "invalid Sec-WebSocket-Protocol header"),
    ],
    ids=["version", "key", "no key", "subprotocol"],
)
async def test_a_handshake_that_is_none_is_refused_with_400(upgrade: bytes, text: str) -> None:
    async with serve_app(app_of(echo)) as url:
        stream = await anyio.connect_tcp("127.0.0.1", port_of(url))
        async with stream:
            await stream.send(upgrade + b"\r\n")
            answer = await stream.receive()
    assert answer.startswith(b"HTTP/1.1 400 \r\n")
    assert text in answer.decode()


@pytest.mark.rule("B11")
@pytest.mark.parametrize(
    "header", [b"Sec-WebSocket-Protocol: " + b"a," * 500, b"Connection: " + b"a," * 500]
)
async def test_a_handshake_with_long_lists_is_refused_before_they_are_looked_at(
    header: bytes,
) -> None:
    async with serve_app(app_of(echo)) as url:
        for count, answer in ((1, b"HTTP/1.1 101 "), (2, b"HTTP/1.1 431 ")):
            async with await anyio.connect_tcp("127.0.0.1", port_of(url)) as stream:
                await stream.send(UPGRADE + (header + b"a\r\n") * count + b"\r\n")
                assert (await stream.receive()).startswith(answer)


async def test_what_comes_before_the_handshake_is_answered_comes_first() -> None:
    async with serve_app(app_of(echo)) as url:
        stream = await anyio.connect_tcp("127.0.0.1", port_of(url))
        async with stream:
            await stream.send(UPGRADE + b"\r\n" + b"\x82\x82" + MASK + b"hi")
            answer = b""
            while not answer.endswith(b"\x82\x02hi"):
                answer += await stream.receive()
    assert answer.startswith(b"HTTP/1.1 101 ")


async def deny(websocket: WebSocket) -> None:
    await websocket.send_denial_response(PlainTextResponse("not today", status_code=402))


async def deny_in_parts(websocket: WebSocket) -> None:
    async def produce() -> AsyncIterator[str]:
        yield "not "
        yield "today"

    await websocket.send_denial_response(StreamingResponse(produce(), status_code=402))


@pytest.mark.parametrize(
    ("endpoint", "status", "text"),
    [
        (deny, 402, "not today"),
        (deny_in_parts, 402, "not today"),
        (close_at_once, 403, "Forbidden"),
        (forget, 500, "Internal Server Error"),
        (fail, 500, "Internal Server Error"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_an_app_that_does_not_accept_refuses(
    endpoint: Callable[[WebSocket], Any], status: int, text: str
) -> None:
    async with serve_app(app_of(endpoint)) as url:
        with pytest.raises(RefusedError) as caught:
            async with connect_websocket(url, None):
                raise AssertionError("accepted")
    assert (caught.value.status, caught.value.body) == (status, text)


# Messages


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 1_000_000])
async def test_messages_of_any_size_go_both_ways(size: int) -> None:
    data = bytes(index % 251 for index in range(size))
    async with talking_to(echo) as websocket:
        await websocket.send(BytesMessage(data))
        assert await receive_message(websocket) == data
        await websocket.send(TextMessage("é" * (size // 2)))
        assert await receive_message(websocket) == "é" * (size // 2)


async def test_fragments_are_put_together_with_a_ping_in_between() -> None:
    async with talking_to(echo) as websocket:
        await websocket.send(TextMessage("on", message_finished=False))
        await websocket.send(Ping(b"ping"))
        assert await websocket.receive() == Pong(b"ping")
        await websocket.send(TextMessage("", message_finished=False))
        await websocket.send(TextMessage("e"))
        assert await receive_message(websocket) == "one"


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (b"\x82\x05hello", 1002, "incorrect masking"),
        (frame(0x8F, b"hello"), 1002, "invalid opcode"),
        (frame(0xC2, b"\xcaH\xcd\xc9\xc9\x07\x00"), 1002, "reserved bits must be 0"),
        (frame(0x89, b"p" * 126, b"\xfe\0\x7e"), 1002, "control frame too long"),
        (frame(0x09, b"ping"), 1002, "fragmented control frame"),
        (frame(0x80, b"x"), 1002, "unexpected continuation frame"),
        (frame(0x02, b"x") + frame(0x82, b"y"), 1002, "expected a continuation frame"),
        (frame(0x81, b"\xff\xfe"), 1007, "invalid start byte at 0"),
        (frame(0x01, b"\xc3") + frame(0x80, b"("), 1007, "invalid continuation byte at 0"),
        (frame(0x82, b"", b"\xfe\x03\xe9"), 1009, "frame with 1001 bytes exceeds limit of 1000"),
        (
            frame(0x82, b"", b"\xff\0\0\0\1\0\0\0\0"),
            1009,
            "frame with 4294967296 bytes exceeds limit of 1000 bytes",
        ),
        (
            frame(0x02, b"x" * 100) + frame(0x00, b"x" * 100) * 9 + frame(0x00, b"x"),
            1009,
            "frame with 1 bytes after reading 1000 bytes exceeds limit of 1000 bytes",
        ),
        (frame(0x88, b"\x03"), 1002, "close frame too short"),
    ],
    ids=[
        "unmasked",
        "unknown opcode",
        "compressed",
        "long ping",
        "ping in fragments",
        "continuation of nothing",
        "message in a message",
        "not UTF-8",
        "not UTF-8 in fragments",
        "large",
        "4 GB",
        "large in fragments",
        "half a code",
    ],
)
async def test_who_breaks_the_rules_is_told_which_and_the_app_too(
    data: bytes, code: int, reason: str
) -> None:
    seen: list[Any] = []

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        seen.append(await websocket.receive())

    async with talking_to(endpoint, {"max_message_bytes": 1_000}) as websocket:
        await websocket.stream.send(data)
        told = await websocket.receive_close()
    assert told[0] == code
    assert told[1].startswith(reason)
    assert seen == [{"type": "websocket.disconnect", "code": told[0], "reason": told[1]}]
