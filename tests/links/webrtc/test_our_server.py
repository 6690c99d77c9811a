"""Participants of ours that join our own server as they join LiveKit's: over WebRTC."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from trio_rpc import ConnectError, DataPacketKind, Room, RpcError, RpcInvocationData
from trio_rpc.links.webrtc import LiveKitConnector
from trio_rpc.links.webrtc.shared_thread import _shared
from trio_rpc.participant import ParticipantState
from trio_rpc.server import RoomServer, create_app, open_peer_thread

from ...conftest import Join
from ...support.serving import App, unaware_of_ours
from ...support.tokens import make_token
from ...support.waiting import wait_until
from ..web import serve_app

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


def without_v1(app: App) -> App:
    """Return an app that has `/rtc` alone, as LiveKit's server before 1.9.11."""

    async def older(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope.get("path") == "/rtc/v1":
            scope = {**scope, "path": "/nothing", "raw_path": b"/nothing"}
        await app({**scope, "subprotocols": []}, receive, send)

    return older


@pytest.fixture(params=[unaware_of_ours, without_v1], ids=["v1", "v0"])
async def livekit_url(
    request: pytest.FixtureRequest, server: RoomServer, anyio_backend: object
) -> AsyncIterator[str]:
    """The URL of our server, which behaves like one of LiveKit's."""
    async with (
        open_peer_thread() as thread,
        serve_app(request.param(create_app(server, thread))) as url,
    ):
        yield url


@asynccontextmanager
async def echoing(join: Join, identity: str, to: object) -> AsyncIterator[Room]:
    room = Room()

    @room.register_rpc_method("echo")
    async def echo(data: RpcInvocationData) -> str:
        return f"{data.caller_identity}: {data.payload}"

    async with join(identity, to=to, room=room):
        yield room


async def call(room: Room, callee: str, payload: str = "hi", method: str = "echo") -> str:
    return await room.local_participant.perform_rpc(
        destination_identity=callee, method=method, payload=payload
    )


async def test_calls_go_both_ways(livekit_url: str, server: RoomServer, join: Join) -> None:
    async with (
        echoing(join, "alice", livekit_url) as alice,
        echoing(join, "bob", livekit_url) as bob,
        echoing(join, "carol", server) as carol,
    ):
        for caller, callee in [(alice, bob), (bob, alice), (alice, carol), (carol, alice)]:
            us, them = caller.local_participant.identity, callee.local_participant.identity
            await caller.wait_for_participant(them)
            for size in (0, 100, 10_000, 15_300):
                payload = "x" * size
                assert await call(caller, them, payload) == f"{us}: {payload}"
            with pytest.raises(RpcError) as caught:
                await call(caller, them, method="nothing")
            assert caught.value.code == RpcError.ErrorCode.UNSUPPORTED_METHOD
            with pytest.raises(RpcError) as caught:
                await call(caller, them, "x" * 15_361)
            assert caught.value.code == RpcError.ErrorCode.REQUEST_PAYLOAD_TOO_LARGE


async def test_we_are_active_once_we_have_joined(livekit_url: str, join: Join) -> None:
    async with join("alice", to=livekit_url) as alice:
        assert alice.local_participant.state is ParticipantState.ACTIVE


async def test_data_streams_and_descriptions_arrive(livekit_url: str, join: Join) -> None:
    text = "all the world's a stage, " * 20_000
    received: list[tuple[str, bytes, DataPacketKind]] = []
    texts: list[str] = []
    bob = Room()
    bob.on(
        "data_received", lambda packet: received.append((packet.topic, packet.data, packet.kind))
    )

    async def read(reader: Any, _identity: str) -> None:
        texts.append(await reader.read_all())

    bob.register_text_stream_handler("play", read)
    async with (
        join("bob", to=livekit_url, room=bob),
        join("alice", to=livekit_url, can_update_own_metadata=True) as alice,
    ):
        await alice.wait_for_participant("bob")
        us = alice.local_participant
        await us.publish_data(b"1", topic="reliable")
        await us.send_text(text, topic="play", destination_identities=["bob"])
        await us.set_attributes({"mood": "good"})
        await wait_until(lambda: texts == [text] and len(received) == 1)
        assert received == [("reliable", b"1", DataPacketKind.KIND_RELIABLE)]
        while len(received) == 1:
            await us.publish_data(b"2", topic="lossy", reliable=False)
            await anyio.sleep(0.01)
        assert received[1] == ("lossy", b"2", DataPacketKind.KIND_LOSSY)
        await wait_until(lambda: bob.remote_participants["alice"].attributes == {"mood": "good"})


async def test_what_was_sent_before_leaving_arrives(livekit_url: str, join: Join) -> None:
    received: list[bytes] = []
    bob = Room()
    bob.on("data_received", lambda packet: received.append(packet.data))
    async with join("bob", to=livekit_url, room=bob):
        async with join("alice", to=livekit_url) as alice:
            await alice.wait_for_participant("bob")
            for number in range(20):
                await alice.local_participant.publish_data(b"%d" % number + b"x" * 1_000)
        # Data and signalling take different ways: the news of the end may come first.
        await wait_until(lambda: len(received) == 20)


async def test_all_links_of_an_event_loop_share_one_thread(livekit_url: str, join: Join) -> None:
    def threads() -> int:
        return sum(each.name == "trio_rpc WebRTC" for each in threading.enumerate())

    # One of the server's own, once it is needed.
    async with join("alice", to=livekit_url):
        [shared] = _shared.values()
        async with join("bob", to=livekit_url), join("carol", to=livekit_url):
            assert shared.users == 3
            assert [*_shared.values()] == [shared]
            assert threads() == 2
        assert shared.users == 1
    assert not _shared
    assert threads() == 1


async def test_without_aiortc_the_error_names_the_extra(
    livekit_url: str, server: RoomServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_rpc.links.webrtc.connector.find_spec", lambda _: None)
    with pytest.raises(ConnectError) as caught:
        async with Room().connect(livekit_url, make_token("alice")):
            raise AssertionError("joined")
    assert str(caught.value) == (
        f"the server at {livekit_url} is one of LiveKit's, which carry data over WebRTC: that "
        "needs the extra 'livekit' (pip install 'trio-rpc[livekit]')"
    )


async def test_our_own_server_is_asked_for_frames_and_needs_no_thread(url: str, join: Join) -> None:
    async with join("alice", to=url):
        assert not _shared
    async with join("alice", to=LiveKitConnector(url)):
        assert len(_shared) == 1


async def test_a_refusal_is_told(livekit_url: str) -> None:
    with pytest.raises(ConnectError, match=r" refused with 401: ") as caught:
        async with Room().connect(livekit_url, "a.b.c"):
            raise AssertionError("joined")
    assert caught.value.status == 401


async def test_the_thread_ends_when_the_first_link_is_cancelled(url: str) -> None:
    for deadline in (0.0, 0.02, 0.05):
        with anyio.move_on_after(deadline):
            async with Room().connect(LiveKitConnector(url), make_token("alice")):
                await anyio.sleep_forever()
        assert not _shared
