"""Running a server on sockets of its own: starting, TLS, and ending without a trace."""

from __future__ import annotations

import gc
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import httpx
import pytest
import trustme
from anyio.abc import TaskStatus
from attrs import define

from trio_rpc import ConnectError, DisconnectReason, Room
from trio_rpc.server import RoomServer, ServerLimits, ServerStatistics, serve

from ..conftest import Join
from ..support.messages import user
from ..support.raw_sockets import connect_websocket
from ..support.scripted_client import scripted_client
from ..support.serving import port_of, serving
from ..support.tokens import API_KEYS, make_token

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

FILE_DESCRIPTORS: Final = Path("/proc/self/fd")


async def greet(to: str, **options: Any) -> None:
    """Have two join and call each other."""
    bob = Room()
    bob.register_rpc_method("greet", lambda data: f"Hello, {data.caller_identity}!")
    async with (
        Room().connect(to, make_token("alice"), **options) as alice,
        bob.connect(to, make_token("bob"), **options),
    ):
        answer = await alice.local_participant.perform_rpc(
            destination_identity="bob", method="greet", payload=""
        )
    assert answer == "Hello, alice!"


# Starting


@pytest.mark.rule("V1")
async def test_starting_gives_the_url_that_clients_connect_to(server: RoomServer) -> None:
    async with anyio.create_task_group() as task_group:
        url = await task_group.start(serve, server, "127.0.0.1", 0)
        assert url == f"ws://127.0.0.1:{port_of(url)}"
        await greet(url)
        task_group.cancel_scope.cancel()


async def test_several_servers_run_side_by_side(server: RoomServer) -> None:
    other = RoomServer(API_KEYS)
    async with serving(server) as url, serving(other) as other_url:
        async with Room().connect(other_url, make_token("alice")):
            assert server.statistics().participants == 0
            assert other.statistics().participants == 1
        await greet(url)


async def test_a_port_in_use_is_an_os_error(server: RoomServer) -> None:
    async with serving(server) as url:
        with pytest.raises(OSError, match="in use"):
            await serve(RoomServer(API_KEYS), "127.0.0.1", port_of(url))
        await greet(url)


async def test_a_host_that_does_not_exist_is_an_os_error(server: RoomServer) -> None:
    with pytest.raises(OSError, match=r"\S"):
        await serve(server, "256.0.0.1", 0)


async def test_the_port_is_free_again_at_once(server: RoomServer) -> None:
    async with serving(server) as url:
        await greet(url)
    async with anyio.create_task_group() as task_group:
        again = await task_group.start(serve, RoomServer(API_KEYS), "127.0.0.1", port_of(url))
        assert again == url
        await greet(again)
        task_group.cancel_scope.cancel()


async def test_ipv6(server: RoomServer) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    async with serving(server, "::1") as url:
        assert url == f"ws://[::1]:{port_of(url)}"
        await greet(url)


async def test_nothing_tells_what_serves(server: RoomServer) -> None:
    async with serving(server) as url, httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(url.replace("ws:", "http:"))
    assert response.text == "OK"
    assert "server" not in response.headers


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> dict[str, Any]:
    """Certificate and key of a server on 127.0.0.1."""
    certificate = authority.issue_cert("127.0.0.1")
    keyfile, certfile = tmp_path / "key.pem", tmp_path / "chain.pem"
    certificate.private_key_pem.write_to_path(keyfile)
    for number, pem in enumerate(certificate.cert_chain_pems):
        pem.write_to_path(certfile, append=number > 0)
    return {"certfile": certfile, "keyfile": keyfile}


@pytest.mark.rule("V1")
async def test_calls_go_over_tls(
    server: RoomServer, authority: trustme.CA, tls: dict[str, Any]
) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with serving(server, **tls) as url:
        assert url == f"wss://127.0.0.1:{port_of(url)}"
        await greet(url, ssl_context=context)
        await greet(url.replace("wss:", "https:"), ssl_context=context)
        with pytest.raises(ConnectError) as caught:
            async with Room().connect(url, "a.b.c", ssl_context=context):
                pass
        assert caught.value.status == 401


async def test_a_certificate_that_is_not_trusted_is_a_connect_error(
    server: RoomServer, tls: dict[str, Any]
) -> None:
    async with serving(server, **tls) as url:
        with pytest.raises(ConnectError, match="CERTIFICATE_VERIFY_FAILED") as caught:
            async with Room().connect(url, make_token("alice")):
                pass
        assert caught.value.status is None
        assert server.statistics() == ServerStatistics(rooms=0, participants=0)


async def test_plain_ws_to_a_server_with_tls_is_a_connect_error(
    server: RoomServer, authority: trustme.CA, tls: dict[str, Any]
) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with serving(server, **tls) as url:
        with pytest.raises(ConnectError, match="no room server answered at ws://127"):
            async with Room().connect(url.replace("wss:", "ws:"), make_token("alice")):
                pass
        await greet(url, ssl_context=context)


async def test_tls_to_a_server_without_is_a_connect_error(server: RoomServer) -> None:
    async with serving(server) as url:
        with pytest.raises(ConnectError, match="no room server answered at wss://127"):
            async with Room().connect(url.replace("ws:", "wss:"), make_token("alice")):
                pass
        await greet(url)


# Ending


@define
class Service:
    """A server that runs, and ends on its own."""

    url: str
    _scope: anyio.CancelScope
    _ended: anyio.Event

    def cancel(self) -> None:
        self._scope.cancel()

    async def wait_ended(self) -> None:
        """Wait as long as a service manager would."""
        await self._ended.wait()


@asynccontextmanager
async def service(server: RoomServer) -> AsyncIterator[Service]:
    scope, ended = anyio.CancelScope(), anyio.Event()

    async def run(*, task_status: TaskStatus[str]) -> None:
        with scope:
            await serve(server, "127.0.0.1", 0, task_status=task_status)
        ended.set()

    async with anyio.create_task_group() as task_group:
        url = await task_group.start(run)
        yield Service(url, scope, ended)
        scope.cancel()


@pytest.mark.rule("V6")
async def test_cancelling_tells_every_participant_why(server: RoomServer, join: Join) -> None:
    async with (
        service(server) as running,
        join("alice", to=running.url, on_disconnect="continue") as alice,
        join("bob", on_disconnect="continue") as bob,
    ):
        running.cancel()
        for room in (alice, bob):
            assert await room.wait_disconnected() is DisconnectReason.SERVER_SHUTDOWN
        await running.wait_ended()
        assert server.statistics() == ServerStatistics(rooms=0, participants=0)
        with pytest.raises(OSError, match=r"\S"):
            await anyio.connect_tcp("127.0.0.1", port_of(running.url))


async def idle(url: str) -> AsyncIterator[None]:
    async with await anyio.connect_tcp("127.0.0.1", port_of(url)):
        yield


async def half_a_request(url: str) -> AsyncIterator[None]:
    async with await anyio.connect_tcp("127.0.0.1", port_of(url)) as stream:
        await stream.send(b"GET /rtc HTTP/1.1\r\nHost:")
        yield


async def kept_alive(url: str) -> AsyncIterator[None]:
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.get(url.replace("ws:", "http:"))
        yield


async def member_that_does_not_answer(url: str) -> AsyncIterator[None]:
    async with connect_websocket(url, make_token("mallory")) as websocket:
        await websocket.receive()
        yield


@pytest.mark.rule("V8")
@pytest.mark.parametrize("connect", [idle, half_a_request, kept_alive, member_that_does_not_answer])
async def test_connections_that_linger_do_not_keep_the_server_from_ending(
    server: RoomServer, connect: Callable[[str], AsyncIterator[None]]
) -> None:
    async with service(server) as running, asynccontextmanager(connect)(running.url):
        running.cancel()
        await running.wait_ended()


@pytest.mark.rule("V8")
async def test_a_peer_that_does_not_read_does_not_keep_the_server_from_ending() -> None:
    server = RoomServer(API_KEYS, ServerLimits(max_queue_bytes=500_000, read_timeout=1))
    async with (
        service(server) as running,
        connect_websocket(running.url, make_token("sloth")) as sloth,
    ):
        await sloth.receive()
        async with scripted_client(server, "alice") as alice:
            for _ in range(2000):
                alice.send(user("x" * 60_000))
                await alice.settle()
                if server.statistics().participants == 1:
                    break
            else:
                pytest.fail("no connection was closed")
        running.cancel()
        await running.wait_ended()


@pytest.mark.skipif(not FILE_DESCRIPTORS.exists(), reason="no /proc to count them in")
async def test_rounds_of_serving_leave_no_file_descriptor(server: RoomServer) -> None:
    async def serve_once() -> int:
        other = RoomServer(API_KEYS)
        async with serving(other) as url:
            await greet(url)
            async with connect_websocket(url, make_token("mallory")) as websocket:
                await websocket.receive()
            with pytest.raises(ConnectError):
                async with Room().connect(url, "a.b.c"):
                    pass
        gc.collect()
        return len(list(FILE_DESCRIPTORS.iterdir()))

    await serve_once()
    counts = [await serve_once() for _ in range(3)]
    assert counts == counts[:1] * 3
