"""Errors of `Room.connect` at servers of other kinds, or none at all."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
import trustme

from trio_rpc import ConnectError, Room
from trio_rpc.server import RoomServer, serve

from ..conftest import Join
from ..support.tokens import make_token
from .web import echo_app, refusing_app, serve_app, unused_port

pytestmark = pytest.mark.anyio


async def connect_error(url: str, context: ssl.SSLContext | None = None) -> ConnectError:
    room = Room()
    with pytest.raises(ConnectError) as caught:
        async with room.connect(url, make_token("alice"), ssl_context=context):
            raise AssertionError("joined")
    assert not room.isconnected()
    return caught.value


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "localhost:7880",
        "//localhost:7880",
        "ftp://localhost",
        "ws://",
        "ws:///rtc",
        "ws://:7880",
        "ws://localhost:port",
        "ws://localhost:99999",
        "ws://localhost:0",
        "ws://[::1",
    ],
)
async def test_what_is_not_the_url_of_a_room_server_is_refused(url: str) -> None:
    error = await connect_error(url)
    assert str(error) == (
        f"{url!r} is not the URL of a room server: it wants ws:// or wss://, a host, and "
        "perhaps a port and a path"
    )
    assert error.status is None


@pytest.mark.real_time
@pytest.mark.parametrize("scheme", ["ws", "wss", "http", "https"])
async def test_where_nobody_listens_the_connection_is_refused(scheme: str) -> None:
    port = unused_port()
    error = await connect_error(f"{scheme}://127.0.0.1:{port}/path/")
    websocket_scheme = scheme.replace("http", "ws")
    assert str(error).startswith(
        f"no room server answered at {websocket_scheme}://127.0.0.1:{port}/path/rtc/v1: "
    )
    assert error.status is None


@pytest.mark.real_time
async def test_a_host_that_does_not_exist_is_named() -> None:
    error = await connect_error("ws://no-such-host.invalid:7880")
    assert str(error).startswith(
        "no room server answered at ws://no-such-host.invalid:7880/rtc/v1: "
    )


@pytest.mark.real_time
async def test_a_websocket_server_of_another_kind_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trio_rpc.links.webrtc.link.OPEN_TIMEOUT", 0.3)
    async with serve_app(echo_app()) as url:
        error = await connect_error(url)
    assert str(error) == "the server did not answer within 0.3 s"


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (401, "the token has expired", "the token has expired"),
        (500, "out of order\n", "out of order"),
        (503, "x" * 600, "x" * 500),
    ],
)
async def test_a_refusal_with_an_http_status_tells_it(status: int, text: str, reason: str) -> None:
    async with serve_app(refusing_app(status, text)) as url:
        error = await connect_error(url)
    assert str(error) == f"{url}/rtc/v1 refused with {status}: {reason}"
    assert error.status == status


@pytest.mark.real_time
async def test_a_server_without_either_path_is_no_room_server() -> None:
    async with serve_app(refusing_app(404, "")) as url:
        error = await connect_error(url)
    assert str(error) == f"{url}/rtc refused with 404: no reason given"
    assert error.status == 404


@pytest.mark.real_time
@pytest.mark.parametrize("size", [None, 100], ids=["whole", "cut off"])
async def test_an_error_does_not_show_a_token_that_the_server_repeats(
    size: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    token = make_token("alice")
    text = f"invalid token: {token}"[:size]
    async with serve_app(refusing_app(401, text)) as url:
        with pytest.raises(ConnectError) as caught:
            async with Room().connect(url, token):
                raise AssertionError("joined")
    assert str(caught.value) == (
        f"{url}/rtc/v1 refused with 401: invalid token: <the access token>"
    )
    secret = token[:40]
    assert secret not in repr(caught.value.__dict__)
    assert secret not in caplog.text


@pytest.mark.real_time
async def test_a_server_that_speaks_no_http_is_no_room_server() -> None:
    async with _tcp_server(b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        error = await connect_error(f"ws://127.0.0.1:{port}")
    assert str(error).startswith(f"no room server answered at ws://127.0.0.1:{port}/rtc/v1: ")


@pytest.mark.real_time
async def test_a_server_that_hangs_up_is_no_room_server() -> None:
    async with _tcp_server(b"") as port:
        error = await connect_error(f"ws://127.0.0.1:{port}")
    assert str(error).startswith(f"no room server answered at ws://127.0.0.1:{port}/rtc/v1: ")
    assert str(error) != f"no room server answered at ws://127.0.0.1:{port}/rtc/v1: "


@pytest.mark.real_time
async def test_a_silent_server_is_given_up() -> None:
    async with _tcp_server(None) as port:
        with pytest.raises(ConnectError, match=r"^the room was not joined within 0\.3 s$"):
            async with Room().connect(
                f"ws://127.0.0.1:{port}", make_token("alice"), connect_timeout=0.3
            ):
                raise AssertionError("joined")


@asynccontextmanager
async def _tcp_server(answer: bytes | None) -> AsyncIterator[int]:
    """Run a server that sends `answer` and hangs up, or is silent and keeps the connection."""

    async def converse(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            if answer is None:
                await anyio.sleep_forever()
            elif answer:
                await stream.send(answer)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as task_group:
        task_group.start_soon(listener.serve, converse)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        task_group.cancel_scope.cancel()


# TLS


@asynccontextmanager
async def _serve_tls(server: RoomServer, path: Path) -> AsyncIterator[tuple[str, ssl.SSLContext]]:
    """Run a TLS server, and yield its URL and a context that trusts its certificate."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(path / "server.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)

    async def run(*, task_status: anyio.abc.TaskStatus[str]) -> None:
        pem = path / "server.pem"
        await serve(server, "127.0.0.1", 0, certfile=pem, keyfile=pem, task_status=task_status)

    async with anyio.create_task_group() as task_group:
        yield await task_group.start(run), context
        task_group.cancel_scope.cancel()


@pytest.mark.real_time
async def test_a_room_is_joined_over_tls(server: RoomServer, join: Join, tmp_path: Path) -> None:
    async with _serve_tls(server, tmp_path) as (url, context):
        assert url.startswith("wss://127.0.0.1:")
        room = Room()
        async with room.connect(url, make_token("alice"), ssl_context=context):
            room.register_rpc_method("greet", lambda data: f"Hello, {data.caller_identity}")
            async with join("bob") as bob:
                answer = await bob.local_participant.perform_rpc(
                    destination_identity="alice", method="greet", payload=""
                )
    assert answer == "Hello, bob"


@pytest.mark.real_time
async def test_a_certificate_that_is_not_trusted_is_refused(
    server: RoomServer, tmp_path: Path
) -> None:
    async with _serve_tls(server, tmp_path) as (url, _):
        error = await connect_error(url)
    assert str(error).startswith(f"no room server answered at {url}/rtc/v1: ")
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)


@pytest.mark.real_time
async def test_a_tls_server_spoken_to_without_tls_is_no_room_server(
    server: RoomServer, tmp_path: Path
) -> None:
    async with _serve_tls(server, tmp_path) as (url, _):
        plain_url = url.replace("wss:", "ws:")
        error = await connect_error(plain_url)
    assert str(error).startswith(f"no room server answered at {plain_url}/rtc/v1: ")


@pytest.mark.real_time
async def test_a_plain_server_spoken_to_with_tls_is_no_room_server(url: str) -> None:
    tls_url = url.replace("ws:", "wss:")
    error = await connect_error(tls_url)
    assert str(error).startswith(f"no room server answered at {tls_url}/rtc/v1: ")
