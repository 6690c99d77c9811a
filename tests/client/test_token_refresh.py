"""A client opens its next connection with the token that the server sent last (rule L11)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from livekit.protocol import rtc

from trio_rpc import Room
from trio_rpc.client.supervisor import TokenSource
from trio_rpc.events import TokenRefreshed
from trio_rpc.links import Link
from trio_rpc.server import RoomServer
from trio_rpc.testing import FaultyNetwork
from trio_rpc.tokens import verify_token

from ..support.scripted_server import ScriptedServer
from ..support.tokens import API_KEYS, make_token

pytestmark = pytest.mark.anyio


class RecordingConnector(FaultyNetwork):
    """A way to a server that records the tokens of its connections."""

    def __init__(self, server: RoomServer) -> None:
        super().__init__(server)
        self.tokens: list[str] = []

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncIterator[Link]:
        self.tokens.append(token)
        async with super().open_link(token, request) as link:
            yield link


async def reconnect(room: Room, connector: FaultyNetwork) -> None:
    """Lose the connection, and wait until it is there again."""
    restored = anyio.Event()
    room.once("reconnected", restored.set)
    connector.cut()
    await restored.wait()


async def rename(room: Room, name: str) -> str:
    """Change our name, and return the token that has it."""
    async with room.events(TokenRefreshed) as events:
        await room.local_participant.set_name(name)
        async for event in events:
            if verify_token(event.token, API_KEYS).name == name:
                return event.token
    raise AssertionError


@pytest.mark.rule("L11")
async def test_a_str_is_replaced_by_the_last_token_of_the_server(server: RoomServer) -> None:
    connector = RecordingConnector(server)
    token = make_token("alice", can_update_own_metadata=True)
    async with Room().connect(connector, token) as room:
        last = await rename(room, "Alice")
        await reconnect(room, connector)
        assert connector.tokens == [token, last]


@pytest.mark.rule("L11", "L2")
async def test_when_the_last_token_has_expired_the_first_one_serves_again(
    server: RoomServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000_000_000.0]
    monkeypatch.setattr("trio_rpc.tokens.time.time", lambda: now[0])
    connector = RecordingConnector(server)
    token = make_token("alice", can_update_own_metadata=True)
    async with Room().connect(connector, token) as room:
        last = await rename(room, "Alice")
        # As after a machine has slept for an hour.
        now[0] += 3_600
        await reconnect(room, connector)
        assert connector.tokens == [token, last, token]
        assert room.isconnected()


@pytest.mark.rule("L11")
async def test_an_async_function_is_called_again(server: RoomServer) -> None:
    connector = RecordingConnector(server)

    async def make() -> str:
        return make_token("alice", agent=bool(connector.tokens), can_update_own_metadata=True)

    source: TokenSource = make
    async with Room().connect(connector, source) as room:
        last = await rename(room, "Alice")
        await reconnect(room, connector)
        _, second = connector.tokens
        assert second != last
        assert verify_token(second, API_KEYS).grants.agent


@pytest.mark.rule("L11")
async def test_no_token_is_in_the_log_or_in_the_text_of_the_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    server = ScriptedServer()
    async with (
        Room().connect(server, "a token", reconnect=None) as room,
        room.events(TokenRefreshed) as events,
    ):
        server.send_signal(refresh_token="a-secret-token")
        event = await anext(events)
    assert event.token == "a-secret-token"
    assert "secret" not in repr(event) + str(event) + caplog.text


@pytest.mark.rule("L11")
async def test_a_callback_gets_the_token_if_it_takes_one() -> None:
    server = ScriptedServer()
    received: list[object] = []
    room = Room()
    room.on("token_refreshed", received.append)
    room.on("token_refreshed", lambda: received.append("nothing"))
    async with room.connect(server, "a token", reconnect=None):
        server.send_signal(refresh_token="another")
        await server.settle(room)
    assert received == ["another", "nothing"]
