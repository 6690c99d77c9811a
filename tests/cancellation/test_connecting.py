"""Joining, being in a room, and leaving it, cancelled at each step; and the server as well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import frozen
from livekit.protocol import rtc

from trio_rpc import ConnectError, Room, RpcError
from trio_rpc.links import Frame, Link
from trio_rpc.links.stream import StreamConnector
from trio_rpc.links.websocket import on_trio
from trio_rpc.server import RoomServer, ServerLimits, serve, serve_stream

from ..conftest import Join
from ..support.serving import Certificate, serving_stream
from ..support.tokens import API_KEYS, make_token
from ..support.waiting import wait_until
from .injection import Moment, Whose, cancel_at_each_step, every_moment
from .rooms import AT_REST, at_rest, call, echo, nobody_left

pytestmark = pytest.mark.anyio


@pytest.fixture
def server(request: pytest.FixtureRequest) -> RoomServer:
    """A server that does not keep for long a session whose client is gone, in real time."""
    in_real_time = request.node.get_closest_marker("real_time") is not None
    limits = ServerLimits(resume_window=0.02) if in_real_time else ServerLimits()
    return RoomServer(API_KEYS, limits)


async def cancel_session(
    to: Any, moment: Moment, whose: Whose, server: RoomServer, *, limit: int = 150
) -> int:
    """Cancel a whole session at each step, always with the same `Room`."""
    room = Room()
    room.register_rpc_method("echo", echo)

    async def subject() -> None:
        async with room.connect(to, make_token("alice")):
            await room.wait_for_participant("bob")
            assert await call(room) == "hi"

    async def check() -> None:
        assert not room.isconnected()
        assert room.statistics() == AT_REST
        await nobody_left(server, but=1)
        await subject()
        await nobody_left(server, but=1)

    return await cancel_at_each_step(subject, check, moment=moment, whose=whose, limit=limit)


@every_moment
@pytest.mark.rule("C13")
async def test_a_session_in_memory_can_be_cancelled_at_each_step(
    join: Join, server: RoomServer, moment: Moment, whose: Whose
) -> None:
    async with join("bob") as bob:
        bob.register_rpc_method("echo", echo)
        assert 5 <= await cancel_session(server, moment, whose, server) < 150
        await at_rest(bob)
    await nobody_left(server)


@every_moment
@pytest.mark.real_time
@pytest.mark.rule("C13")
async def test_a_session_over_a_websocket_can_be_cancelled_at_each_step(
    join: Join, server: RoomServer, url: str, moment: Moment, whose: Whose
) -> None:
    async with join("bob", to=url) as bob:
        bob.register_rpc_method("echo", echo)
        assert await cancel_session(url, moment, whose, server, limit=60) >= 5
        await at_rest(bob)
    await nobody_left(server)


@every_moment
@pytest.mark.real_time
@pytest.mark.rule("C13")
@pytest.mark.parametrize("scheme", ["tcp", pytest.param("tls", marks=pytest.mark.thorough)])
async def test_a_session_over_a_stream_link_can_be_cancelled_at_each_step(
    join: Join, server: RoomServer, scheme: str, tmp_path: Path, moment: Moment, whose: Whose
) -> None:
    files: dict[str, Path] = {}
    connector = partial(StreamConnector)
    if scheme == "tls":
        certificate = Certificate.make(tmp_path)
        files, connector = certificate.files, partial(connector, ssl_context=certificate.trusted)
    async with (
        serving_stream(server, f"{scheme}://127.0.0.1:0", **files) as url,
        join("bob") as bob,
    ):
        bob.register_rpc_method("echo", echo)
        assert await cancel_session(connector(url), moment, whose, server, limit=60) >= 5
        await at_rest(bob)
    await nobody_left(server)


@every_moment
@pytest.mark.rule("C8", "A12")
async def test_a_participant_that_is_cancelled_at_any_step_answers_or_is_gone(
    join: Join, server: RoomServer, moment: Moment, whose: Whose
) -> None:
    async with join("alice") as alice:
        outcomes: list[str | int] = []

        async def call_bob() -> None:
            await alice.wait_for_participant("bob")
            try:
                outcomes.append(await call(alice))
            except RpcError as error:
                outcomes.append(error.code)

        async def be_bob() -> None:
            async with join("bob") as bob:
                bob.register_rpc_method("echo", echo)
                await anyio.wait_all_tasks_blocked()

        async def subject() -> None:
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(be_bob)
                with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                    await call_bob()

        async def check() -> None:
            await nobody_left(server, but=1)
            await wait_until(lambda: not alice.remote_participants)
            assert alice.statistics() == AT_REST

        await cancel_at_each_step(subject, check, moment=moment, whose=whose, limit=60)
        codes = {RpcError.ErrorCode.UNSUPPORTED_METHOD, RpcError.ErrorCode.RECIPIENT_DISCONNECTED}
        assert {"hi"} <= set(outcomes) <= {"hi"} | codes


@pytest.mark.real_time
async def test_joining_can_be_cancelled_in_the_moment_in_which_the_handshake_is_over(
    server: RoomServer, url: str, anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if anyio_backend_name != "trio":
        pytest.skip("only on trio does a task of ours shake hands")
    shake_hands = on_trio._shake_hands

    async def shake_hands_and_be_cancelled(*args: Any) -> Any:
        connection = await shake_hands(*args)
        scope.cancel()
        return connection

    monkeypatch.setattr(on_trio, "_shake_hands", shake_hands_and_be_cancelled)
    started = anyio.current_time()
    with anyio.CancelScope() as scope:
        async with Room().connect(url, make_token("alice")):
            raise AssertionError("joined")
    assert scope.cancelled_caught
    # At once, and not when the server's ping timeout has closed the connection.
    assert anyio.current_time() - started < server.limits.ping_timeout / 2
    await nobody_left(server)


# Cancelled bodies and deadlines


async def connect_in_memory(server: RoomServer, body: Callable[[Room], Any]) -> None:
    async with Room().connect(server, make_token("alice")) as room:
        await body(room)


async def test_the_body_is_cancelled_like_any_other(server: RoomServer) -> None:
    seen: list[bool] = []

    async def body(room: Room) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            seen.append(room.isconnected())

    with anyio.move_on_after(3) as scope:
        await connect_in_memory(server, body)
    assert scope.cancelled_caught
    assert seen == [True]
    await nobody_left(server)


@pytest.mark.parametrize("connect_timeout", [0.001, 5.0])
async def test_a_body_that_runs_longer_than_joining_may_is_not_cancelled(
    server: RoomServer, connect_timeout: float
) -> None:
    async with Room().connect(server, make_token("alice"), connect_timeout=connect_timeout) as room:
        await anyio.sleep(3600)
        assert room.isconnected()


async def test_a_body_is_not_begun_when_the_time_for_joining_was_over(server: RoomServer) -> None:
    with pytest.raises(ConnectError, match=r"^the room was not joined within 0 s$"):
        async with Room().connect(server, make_token("alice"), connect_timeout=0):
            raise AssertionError("joined")
    await nobody_left(server)


class WrappedLink:
    """A link that behaves like another but for what a subclass changes."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def __getattr__(self, name: str) -> Any:
        return getattr(self.link, name)


class LateLink(WrappedLink):
    """Everything is received at the last moment, and not a moment before."""

    async def receive(self) -> list[Frame]:
        frames: list[Frame] = []
        with anyio.CancelScope(shield=True):
            await anyio.sleep(10)
            frames = await self.link.receive()
        return frames  # noqa: RET504 (the scope might swallow, for all that the checker knows)


class LinkThatFailsToClose(WrappedLink):
    async def aclose(self, reason: str = "") -> None:
        await self.link.aclose(reason)
        raise OSError("failed to close")


@frozen
class WrappingConnector:
    server: RoomServer
    wrap: Callable[[Link], Any]

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncIterator[Link]:
        async with self.server.open_link(token, request) as link:
            yield self.wrap(link)


async def test_a_body_is_not_begun_when_the_answer_comes_at_the_last_moment(
    server: RoomServer,
) -> None:
    connector = WrappingConnector(server, LateLink)
    with pytest.raises(ConnectError, match=r"^the room was not joined within 10 s$"):
        async with Room().connect(connector, make_token("alice"), connect_timeout=10):
            raise AssertionError("joined")
    await nobody_left(server)


async def test_a_link_that_fails_to_close_does_not_keep_us_in_the_room(server: RoomServer) -> None:
    connector = WrappingConnector(server, LinkThatFailsToClose)
    with anyio.fail_after(60), pytest.raises(ExceptionGroup) as caught:
        async with Room().connect(connector, make_token("alice")):
            pass
    assert caught.group_contains(OSError, match="failed to close")
    await nobody_left(server)


# The server


@every_moment
@pytest.mark.real_time
async def test_a_server_of_stream_links_can_be_cancelled_at_each_step(
    tmp_path: Path, moment: Moment, whose: Whose
) -> None:
    path = tmp_path / "socket"

    async def subject() -> None:
        async with anyio.create_task_group() as task_group:
            url = await task_group.start(serve_stream, RoomServer(API_KEYS), f"unix://{path}")
            async with Room().connect(url, make_token("alice")) as room:
                assert room.isconnected()
            task_group.cancel_scope.cancel()

    async def check() -> None:
        await anyio.lowlevel.checkpoint()
        assert not path.exists()

    await cancel_at_each_step(subject, check, moment=moment, whose=whose, limit=25)


@every_moment
@pytest.mark.real_time
async def test_a_server_can_be_cancelled_at_each_step_of_its_start_and_end(
    moment: Moment, whose: Whose
) -> None:
    async def subject() -> None:
        async with anyio.create_task_group() as task_group:
            url = await task_group.start(serve, RoomServer(API_KEYS), "127.0.0.1", 0)
            async with Room().connect(url, make_token("alice")) as room:
                assert room.isconnected()
            task_group.cancel_scope.cancel()

    async def check() -> None:
        await anyio.lowlevel.checkpoint()

    await cancel_at_each_step(subject, check, moment=moment, whose=whose, limit=25)
