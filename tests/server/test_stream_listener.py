"""Stream links at the server: who comes in, who does not, and what bad peers get."""

from __future__ import annotations

import socket
import stat
from pathlib import Path
from typing import Final

import anyio
import pytest

from trio_rpc import ConnectError, DisconnectReason, Room
from trio_rpc.protocol.capabilities import CAN_RESUME, CAPABILITIES, CLIENT_PROTOCOL
from trio_rpc.server import RoomServer, ServerStatistics, serve_stream

from ..conftest import Join
from ..support.raw_sockets import connect_stream_link
from ..support.serving import Certificate, serving_stream
from ..support.tokens import API_KEYS, ROOM, make_token
from .stream_links import greet, refusal

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


FILE_DESCRIPTORS: Final = Path("/proc/self/fd")


# Joining


@pytest.mark.rule("V1")
async def test_calls_go_over_tcp_and_a_socket_in_the_file_system(
    server: RoomServer, tmp_path: Path
) -> None:
    async with (
        serving_stream(server) as tcp,
        serving_stream(server, f"unix://{tmp_path}/100%25 our room") as unix,
    ):
        assert tcp.startswith("tcp://127.0.0.1:")
        assert unix == f"unix://{tmp_path}/100%25%20our%20room"
        assert (tmp_path / "100% our room").is_socket()
        await greet(tcp)
        await greet(unix)


@pytest.mark.rule("V1")
async def test_calls_go_over_tls(server: RoomServer, tmp_path: Path) -> None:
    certificate = Certificate.make(tmp_path)
    async with serving_stream(server, "tls://127.0.0.1:0", **certificate.files) as url:
        assert url.startswith("tls://127.0.0.1:")
        await greet(url, ssl_context=certificate.trusted)


@pytest.mark.rule("V2", "V6")
async def test_whoever_comes_in_shares_rooms_with_those_on_other_links(
    server: RoomServer, url: str, join: Join
) -> None:
    async with (
        serving_stream(server) as tcp,
        join("alice", to=tcp) as alice,
        join("bob", to=url) as bob,
        join("carol") as carol,
    ):
        for room in (alice, bob, carol):
            room.register_rpc_method("who", lambda data: f"{data.caller_identity} asks")
        for caller in (alice, bob, carol):
            me = caller.local_participant
            for other in ("alice", "bob", "carol"):
                if other != me.identity:
                    await caller.wait_for_participant(other)
                    answer = await me.perform_rpc(
                        destination_identity=other, method="who", payload=""
                    )
                    assert answer == f"{me.identity} asks"


@pytest.mark.rule("N1")
async def test_the_description_of_a_client_is_passed_on(server: RoomServer, join: Join) -> None:
    async with (
        serving_stream(server) as tcp,
        join("alice") as alice,
        join("bob", to=tcp),
    ):
        bob = await alice.wait_for_participant("bob")
        assert bob.client_protocol == CLIENT_PROTOCOL
        assert bob.capabilities == {*CAPABILITIES, CAN_RESUME}


@pytest.mark.rule("V5", "V6")
async def test_a_participant_gets_the_reason_of_its_disconnection(
    server: RoomServer, join: Join
) -> None:
    async with (
        serving_stream(server) as tcp,
        join("alice", to=tcp, on_disconnect="continue") as alice,
    ):
        server.remove_participant(ROOM, "alice")
        assert await alice.wait_disconnected() is DisconnectReason.PARTICIPANT_REMOVED


async def test_the_end_of_a_connection_has_a_reason(server: RoomServer) -> None:
    async with serving_stream(server) as url, connect_stream_link(url) as peer:
        await peer.join(make_token("alice"))
        server.remove_participant(ROOM, "alice")
        assert (await peer.receive_rest())[-1] == ("END", "the server removed it")


# Listening


async def test_a_socket_in_the_file_system_is_for_its_owner_alone_and_removed_at_the_end(
    server: RoomServer, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    async with serving_stream(server, f"unix://{path}"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_a_socket_that_nobody_listens_on_is_replaced(
    server: RoomServer, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    async with serving_stream(server, f"unix://{path}") as url:
        await greet(url)


async def test_a_socket_that_somebody_listens_on_stays(server: RoomServer, tmp_path: Path) -> None:
    url = f"unix://{tmp_path / 'socket'}"
    async with serving_stream(server, url):
        with pytest.raises(OSError, match="in use"):
            await serve_stream(RoomServer(API_KEYS), url)
        await greet(url)


async def test_what_is_no_socket_stays(server: RoomServer, tmp_path: Path) -> None:
    path = tmp_path / "letter"
    path.write_text("Dear John")
    with pytest.raises(OSError, match="in use"):
        await serve_stream(server, f"unix://{path}")
    assert path.read_text() == "Dear John"


async def test_a_port_in_use_is_an_os_error_and_is_free_again_at_once(server: RoomServer) -> None:
    async with serving_stream(server) as url:
        with pytest.raises(OSError, match="in use"):
            await serve_stream(RoomServer(API_KEYS), url)
        await greet(url)
    async with serving_stream(RoomServer(API_KEYS), url) as again:
        assert again == url
        await greet(url)


@pytest.mark.parametrize(
    "url", ["", "tcp://", "tcp://127.0.0.1", "ws://127.0.0.1:0", "unix:socket", "unix://host/path"]
)
async def test_what_is_no_url_of_a_stream_link_can_not_be_listened_on(
    server: RoomServer, url: str
) -> None:
    with pytest.raises(ValueError, match="is not the URL of a stream link"):
        await serve_stream(server, url)


async def test_tls_wants_a_certificate(server: RoomServer) -> None:
    with pytest.raises(ValueError, match=r"^tls:// wants a certificate: certfile and keyfile$"):
        await serve_stream(server, "tls://127.0.0.1:0")


@pytest.mark.rule("V6")
async def test_cancelling_tells_every_participant_why(server: RoomServer, join: Join) -> None:
    async with anyio.create_task_group() as services:
        tcp, other = [
            await services.start(serve_stream, server, "tcp://127.0.0.1:0") for _ in range(2)
        ]
        with anyio.CancelScope(shield=True):
            async with (
                join("alice", to=tcp, on_disconnect="continue") as alice,
                join("bob", to=other, on_disconnect="continue") as bob,
            ):
                services.cancel_scope.cancel()
                for room in (alice, bob):
                    assert await room.wait_disconnected() is DisconnectReason.SERVER_SHUTDOWN
    assert server.statistics() == ServerStatistics(rooms=0, participants=0)


def open_file_descriptors() -> int:
    return len(list(FILE_DESCRIPTORS.iterdir()))


@pytest.mark.skipif(not FILE_DESCRIPTORS.exists(), reason="no /proc to count them in")
async def test_rounds_of_serving_leave_no_file_descriptor(tmp_path: Path) -> None:
    certificate = Certificate.make(tmp_path)

    async def serve_once() -> int:
        server = RoomServer(API_KEYS)
        async with (
            serving_stream(server) as tcp,
            serving_stream(server, "tls://127.0.0.1:0", **certificate.files) as tls,
            serving_stream(server, f"unix://{tmp_path / 'socket'}") as unix,
        ):
            await greet(tcp)
            await greet(unix)
            await greet(tls, ssl_context=certificate.trusted)
            for url in (tcp, tls, unix):
                with pytest.raises(ConnectError):
                    async with Room().connect(url, "a.b.c"):
                        raise AssertionError("joined")
            await refusal(tcp, b"nonsense")
        return open_file_descriptors()

    await serve_once()
    counts = [await serve_once() for _ in range(3)]
    assert counts == counts[:1] * 3
