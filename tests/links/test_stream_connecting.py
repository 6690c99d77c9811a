"""Errors of `Room.connect` for stream links at servers of other kinds, or none at all."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest

from trio_rpc import ConnectError, Room
from trio_rpc.links.records import PREAMBLE, RecordKind, encode_record
from trio_rpc.server import RoomServer

from ..conftest import Join
from ..support.serving import Certificate, serving_stream
from ..support.tokens import make_token
from .web import unused_port

pytestmark = pytest.mark.anyio

HINT = "not the protocol of stream links: {}:// may be right for it"


async def connect_error(url: str, token: str | None = None, **options: Any) -> ConnectError:
    room = Room()
    with pytest.raises(ConnectError) as caught:
        async with room.connect(url, token or make_token("alice"), **options):
            raise AssertionError("joined")
    assert not room.isconnected()
    return caught.value


@asynccontextmanager
async def answering(answer: bytes, *, stay: bool = False) -> AsyncIterator[str]:
    """Run a server that sends `answer` to any message, and then hangs up, by default."""

    async def converse(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(answer)
            if stay:
                await anyio.sleep_forever()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as task_group:
        task_group.start_soon(listener.serve, converse)
        yield f"tcp://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        task_group.cancel_scope.cancel()


@pytest.mark.parametrize(
    "url",
    [
        "tcp://",
        "tcp://localhost",
        "tcp://:7900",
        "tcp://localhost:0",
        "tcp://localhost:port",
        "tcp://localhost:99999",
        "tcp://localhost:7900/rtc",
        "tcp://localhost:7900?a=b",
        "tls://[::1",
        "tls://localhost",
        "unix:",
        "unix://",
        "unix:socket",
        "unix://socket",
        "unix:///socket%00",
        "TCP:7900",
    ],
)
async def test_what_is_not_the_url_of_a_stream_link_is_refused(url: str) -> None:
    error = await connect_error(url)
    assert str(error) == (
        f"{url!r} is not the URL of a stream link: it wants tcp:// or tls://, a host and a port, "
        "or unix:// and the absolute path of a socket"
    )
    assert error.status is None


@pytest.mark.parametrize("token", ["", "two words", "new\nline", "umlaut-\u00e4"])
async def test_what_cannot_be_a_token_is_not_sent(token: str) -> None:
    with pytest.raises(ConnectError, match=r"^the access token is empty, or has characters that "):
        async with Room().connect("tcp://127.0.0.1:1", token):
            raise AssertionError("joined")


@pytest.mark.real_time
@pytest.mark.parametrize("scheme", ["tcp", "tls"])
async def test_where_nobody_listens_the_connection_is_refused(scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{unused_port()}"
    error = await connect_error(url)
    assert str(error).startswith(f"no room server answered at {url}: ")
    assert error.status is None


@pytest.mark.real_time
async def test_a_socket_that_is_not_there_is_named(tmp_path: Path) -> None:
    error = await connect_error(f"unix://{tmp_path}/nowhere")
    assert str(error).startswith(f"no room server answered at unix://{tmp_path}/nowhere: ")
    assert "No such file or directory" in str(error)


@pytest.mark.real_time
async def test_a_path_that_is_too_long_is_a_connect_error() -> None:
    error = await connect_error("unix:///" + "x" * 200)
    assert str(error).startswith("no room server answered at unix:///xxx")


@pytest.mark.real_time
async def test_a_host_that_does_not_exist_is_named() -> None:
    error = await connect_error("tcp://no-such-host.invalid:7900")
    assert str(error).startswith("no room server answered at tcp://no-such-host.invalid:7900: ")


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "the server at {url} speaks HTTP, " + HINT.format("ws"),
        ),
        (
            b"\x15\x03\x01\x00\x02\x02\x46",
            "the server at {url} speaks TLS, " + HINT.format("tls"),
        ),
        (
            b"SSH-2.0-OpenSSH_9.2\r\n",
            "the server at {url} speaks another protocol, not the protocol of stream links",
        ),
        (b"", "no room server answered at {url}: the connection was lost"),
        (PREAMBLE, "no room server answered at {url}: the connection was lost"),
        (
            PREAMBLE + b"\x02\xff\xff\xff\xff",
            (
                "no room server answered at {url}: a record of 4,294,967,295 bytes, over the limit "
                "of 16,777,216"
            ),
        ),
        (
            PREAMBLE + encode_record(RecordKind.MESSAGE, b"200 "),
            "the server at {url} did not answer as the protocol wants it",
        ),
        (
            PREAMBLE + encode_record(RecordKind.ANSWER, b"OK"),
            "the server at {url} did not answer as the protocol wants it",
        ),
        (
            PREAMBLE + encode_record(RecordKind.ANSWER, b"200 "),
            "the server disconnected us before we had joined: the connection was lost",
        ),
        (
            PREAMBLE
            + encode_record(RecordKind.ANSWER, b"200 ")
            + encode_record(RecordKind.END, b"no"),
            "the server disconnected us before we had joined: the connection was closed: no",
        ),
    ],
    ids=[
        *("HTTP", "TLS", "SSH", "hangs up", "preamble alone", "4 GB", "no answer"),
        *("no status", "accepted and gone", "accepted and ended"),
    ],
)
async def test_a_server_of_another_kind_is_told_from_ours(answer: bytes, text: str) -> None:
    async with answering(answer) as url:
        error = await connect_error(url)
    assert str(error) == text.format(url=url)
    assert error.status is None


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (401, "the token has expired", "the token has expired"),
        (429, "", "no reason given"),
        (503, "x" * 600, "x" * 500),
    ],
)
async def test_a_refusal_tells_its_status_and_reason(status: int, text: str, reason: str) -> None:
    answer = encode_record(RecordKind.ANSWER, f"{status} {text}".encode())
    async with answering(PREAMBLE + answer) as url:
        error = await connect_error(url)
    assert str(error) == f"{url} refused with {status}: {reason}"
    assert error.status == status


@pytest.mark.real_time
@pytest.mark.parametrize("answer", [b"", PREAMBLE[:5], PREAMBLE])
async def test_a_server_that_does_not_answer_is_given_up(answer: bytes) -> None:
    async with answering(answer, stay=True) as url:
        error = await connect_error(url, connect_timeout=0.3)
    assert str(error) == "the room was not joined within 0.3 s"


@pytest.mark.real_time
async def test_an_http_server_is_told_from_ours(url: str) -> None:
    tcp = url.replace("ws:", "tcp:")
    error = await connect_error(tcp)
    assert str(error) == (
        f"the server at {tcp} speaks HTTP, not the protocol of stream links: ws:// may be right "
        "for it"
    )


@pytest.mark.real_time
async def test_a_stream_link_spoken_to_as_a_websocket_is_no_room_server(
    server: RoomServer,
) -> None:
    async with serving_stream(server) as tcp:
        url = tcp.replace("tcp:", "ws:")
        error = await connect_error(url)
    assert str(error).startswith(f"no room server answered at {url}/rtc/v1: ")


# TLS


@pytest.mark.real_time
async def test_a_room_is_joined_over_tls(server: RoomServer, join: Join, tmp_path: Path) -> None:
    certificate = Certificate.make(tmp_path)
    async with serving_stream(server, "tls://127.0.0.1:0", **certificate.files) as url:
        room = Room()
        room.register_rpc_method("echo", lambda data: data.payload)
        async with (
            room.connect(url, make_token("alice"), ssl_context=certificate.trusted),
            join("bob") as bob,
        ):
            answer = await bob.local_participant.perform_rpc(
                destination_identity="alice", method="echo", payload="x" * 15_000
            )
    assert answer == "x" * 15_000


@pytest.mark.real_time
async def test_a_certificate_that_is_not_trusted_is_refused(
    server: RoomServer, tmp_path: Path
) -> None:
    certificate = Certificate.make(tmp_path)
    async with serving_stream(server, "tls://127.0.0.1:0", **certificate.files) as url:
        error = await connect_error(url)
        assert str(error) == (
            f"no room server answered at {url}: its certificate is refused: unable to get local "
            "issuer certificate (ssl_context says which certificates to trust)"
        )


@pytest.mark.real_time
async def test_a_certificate_of_another_host_is_refused(server: RoomServer, tmp_path: Path) -> None:
    certificate = Certificate.make(tmp_path)
    async with serving_stream(server, "tls://127.0.0.1:0", **certificate.files) as url:
        other = url.replace("127.0.0.1", "localhost")
        error = await connect_error(other, ssl_context=certificate.trusted)
        assert str(error) == (
            f"no room server answered at {other}: its certificate is refused: Hostname mismatch, "
            "certificate is not valid for 'localhost'. (ssl_context says which certificates to "
            "trust)"
        )


@pytest.mark.real_time
async def test_a_context_that_asks_for_more_than_the_server_has_is_refused(
    server: RoomServer, tmp_path: Path
) -> None:
    certificate = Certificate.make(tmp_path)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers("AES128-SHA")
    async with serving_stream(server, "tls://127.0.0.1:0", **certificate.files) as url:
        error = await connect_error(url, ssl_context=old)
        assert str(error).startswith(f"no room server answered at {url}: ")


@pytest.mark.real_time
async def test_tls_to_a_server_without_it_says_so(server: RoomServer) -> None:
    async with serving_stream(server) as tcp:
        url = tcp.replace("tcp:", "tls:")
        error = await connect_error(url)
    assert str(error) == (
        f"no room server answered at {url}: it does not speak TLS: tcp:// may be right for it"
    )


@pytest.mark.real_time
async def test_plain_tcp_to_a_server_with_tls_says_so(server: RoomServer, tmp_path: Path) -> None:
    certificate = Certificate.make(tmp_path)
    async with serving_stream(server, "tls://127.0.0.1:0", **certificate.files) as tls:
        url = tls.replace("tls:", "tcp:")
        error = await connect_error(url)
    assert str(error) == f"{url} refused with 400: this port takes TLS alone (tls://)"


@pytest.mark.real_time
async def test_a_server_that_ends_the_tls_handshake_is_no_room_server() -> None:
    async with answering(b"") as tcp:
        url = tcp.replace("tcp:", "tls:")
        error = await connect_error(url)
    assert str(error) == (
        f"no room server answered at {url}: it ended the connection during the TLS handshake"
    )
