"""The thread of the peer connections: when it starts, when it ends, and what if it fails."""

from __future__ import annotations

import gc
import sys

import anyio
import pytest
import wsproto.events
from livekit.protocol import models, rtc

from trio_rpc.server import PeerThread, RoomServer, open_peer_thread, serve

from ...conftest import Join
from ...support.messages import user
from ...support.peer_threads import collect, stop_loop
from ...support.raw_sockets import connect_websocket
from ...support.scripted_client import scripted_client
from ...support.serving import serving
from ...support.tokens import make_token
from ...support.waiting import wait_until
from ...webrtc.descriptions import OFFER
from .client import join_request, webrtc_client

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


def running_threads() -> list[PeerThread]:
    # `isinstance` would look into what weak references refer to. The collector may have emptied
    # some of its garbage already.
    threads = [each for each in gc.get_objects() if type(each) is PeerThread]
    return [each for each in threads if getattr(each, "_loop", None) is not None]


def running_thread() -> PeerThread:
    """Return the peer thread of the test's server."""
    [found] = running_threads()
    return found


def is_active(update: rtc.ParticipantUpdate) -> bool:
    return update.participants[0].state == models.ParticipantInfo.ACTIVE


async def test_participants_of_ours_need_no_thread(url: str, join: Join) -> None:
    async with join("alice", to=url), join("bob", to=url):
        assert running_threads() == []


async def test_it_runs_for_all_and_ends_with_the_server(
    server: RoomServer,
) -> None:
    async with serving(server) as url:
        async with webrtc_client(url, "one"):
            thread = running_thread()
            async with webrtc_client(url, "two", version=0):
                assert running_thread() is thread
        assert running_thread() is thread
    assert thread._loop is None
    assert not thread._peers


async def test_the_server_ends_though_clients_are_there(server: RoomServer) -> None:
    async with anyio.create_task_group() as task_group:
        url = await task_group.start(serve, server, "127.0.0.1", 0)
        async with webrtc_client(url, "one") as one, webrtc_client(url, "two") as two:
            task_group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                for client in (one, two):
                    assert await client.wait_closed() == (
                        "SERVER_SHUTDOWN",
                        "the server shuts down",
                    )


@pytest.mark.parametrize("version", [1, 0], ids=["v1", "v0"])
async def test_a_thread_that_fails_is_the_end_of_its_clients_alone(
    url: str, join: Join, server: RoomServer, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with join("alice", to=url) as alice, scripted_client(server, "raw") as raw:
        async with webrtc_client(url, "sdk", version=version) as client:
            await client.wait_response("update", where=is_active)
            thread = running_thread()
            stop_loop(thread)
            reason, why = await client.wait_closed()
            assert reason == "CONNECTION_TIMEOUT"
            # Its connection ends with the thread, and may be the first to say so.
            assert why in {
                "the WebRTC thread has ended",
                "its peer connection is closed",
                "it closed its reliable data channel",
            }
        assert alice.remote_participants.keys() == {"raw"}
        await wait_until(lambda: thread._loop is None)
        # The next one gets another.
        async with webrtc_client(url, "next", version=version) as client:
            raw.send(user("hi", "next"))
            await client.wait_packets()
        assert "the WebRTC thread failed" in caplog.messages
    # What was left behind is not the matter of other tests.
    collect()


async def test_a_thread_that_cannot_start_refuses_and_the_server_lives(
    url: str, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trio_rpc.webrtc.peer", None)
    async with (
        join("alice", to=url),
        connect_websocket(
            url,
            make_token("sdk"),
            target="/rtc/v1?join_request=" + join_request(OFFER),
            subprotocols=[],
        ) as websocket,
    ):
        assert await websocket.receive_close() == (
            1000,
            "WebRTC could not be started; the log of the process says why",
        )
    monkeypatch.undo()
    async with webrtc_client(url, "sdk"):
        pass


@pytest.mark.parametrize("leave", ["politely", "without a word"])
async def test_who_leaves_before_it_is_answered_bothers_nobody(
    url: str, join: Join, leave: str
) -> None:
    async with join("alice", to=url) as alice, webrtc_client(url, "other"):
        for number in range(20):
            async with connect_websocket(
                url,
                make_token(f"sdk {number}"),
                target="/rtc/v1?join_request=" + join_request(OFFER),
                subprotocols=[],
            ) as websocket:
                if leave == "politely":
                    request = rtc.SignalRequest(leave=rtc.LeaveRequest())
                    await websocket.send(
                        wsproto.events.BytesMessage(data=request.SerializeToString())
                    )
        await wait_until(lambda: alice.remote_participants.keys() == {"other"})


async def test_clients_leave_nothing_behind(url: str) -> None:
    async with webrtc_client(url, "first"):
        thread = running_thread()
        for number in range(5):
            async with webrtc_client(url, f"sdk {number}", version=number % 2):
                pass
        await wait_until(lambda: len(thread._peers) == 1)


async def test_the_addresses_are_those_that_were_asked_for(server: RoomServer) -> None:
    async with serving(server, node_ip="127.0.0.2") as url, webrtc_client(url, "sdk") as client:
        answer = (await client.wait_response("answer")).sdp
        lines = [line.split() for line in answer.splitlines() if line.startswith("a=candidate")]
        assert {words[4] for words in lines} == {"127.0.0.2"}


async def test_serve_refuses_an_address_that_is_not_ours(server: RoomServer) -> None:
    with pytest.raises(ValueError, match=r"^'192\.0\.2\.1' is not an IP address of this machine"):
        await serve(server, "127.0.0.1", 0, node_ip="192.0.2.1")


@pytest.mark.parametrize(
    "addresses", [["192.0.2.1"], ["127.0.0.1", "nonsense"]], ids=["not ours", "none"]
)
async def test_an_address_that_is_not_ours_is_refused_at_once(addresses: list[str]) -> None:
    with pytest.raises(ValueError, match=f"^{addresses[-1]!r} is not an IP address of"):
        async with open_peer_thread(addresses):
            raise AssertionError
