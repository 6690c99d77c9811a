"""Signalling that is lost beneath a session: it is opened again, and calls go on (L12)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from attrs import frozen
from livekit.protocol import models, rtc

from trio_rpc import DisconnectedError, Room, RpcError
from trio_rpc.client.reconnecting import DEFAULT_RECONNECT_POLICY, ReconnectPolicy
from trio_rpc.links.webrtc.shared_thread import _shared

from ...support.peer_threads import collect, stop_loop
from ...support.proxy import Proxy, open_proxy
from ...support.waiting import wait_until
from .livekit_server import ScriptedLiveKit, info, scripted_livekit

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

TOKEN = "a.b.c"
BOB = info("bob", "PA_bob")
BOB.client_protocol = 0


@frozen
class Scene:
    """A room on the server, which is reached through a proxy that breaks WebSockets alone."""

    server: ScriptedLiveKit
    proxy: Proxy
    room: Room
    events: list[str]

    async def call(self) -> None:
        response = await self.room.local_participant.perform_rpc(
            destination_identity="bob", method="echo", payload="hi"
        )
        assert response == "hi"


@asynccontextmanager
async def open_scene(
    policy: ReconnectPolicy | None = DEFAULT_RECONNECT_POLICY,
) -> AsyncIterator[Scene]:
    async with scripted_livekit() as (server, url), open_proxy(url) as proxy:
        server.others.append(BOB)
        room = Room()
        events: list[str] = []
        room.on("reconnecting", lambda: events.append("reconnecting"))
        room.on("reconnected", lambda resumed: events.append(f"reconnected {resumed}"))
        room.on("participant_connected", lambda who: events.append(f"+{who.identity}"))
        room.on("participant_disconnected", lambda who: events.append(f"-{who.identity}"))
        async with room.connect(proxy.url, TOKEN, reconnect=policy):
            # Until then, the end of the signalling is that of the membership.
            await wait_until(server.is_connected)
            yield Scene(server, proxy, room, events)


@pytest.mark.rule("L12")
async def test_calls_go_on_while_there_is_no_signalling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_rpc.links.webrtc.signalling._MOMENT", 0.0)
    async with open_scene() as scene:
        sid = scene.room.local_participant.sid
        scene.proxy.refuse()
        scene.proxy.cut()
        await wait_until(lambda: scene.events == ["reconnecting"])
        assert not scene.room.isconnected()
        for _ in range(20):
            await scene.call()
        scene.proxy.refuse(False)
        await wait_until(lambda: scene.events == ["reconnecting", "reconnected True"])
        assert scene.room.isconnected()
        await scene.call()
        assert scene.room.local_participant.sid == sid
        [join, *resumptions] = scene.server.requests
        assert not join.reconnect
        for each in resumptions:
            assert each.reconnect
            assert each.participant_sid == sid
            assert each.reconnect_reason == models.ReconnectReason.RR_SIGNAL_DISCONNECTED
            assert each.client_info == join.client_info


@pytest.mark.rule("L12")
async def test_a_blip_is_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_rpc.links.webrtc.signalling._MOMENT", 60.0)
    async with open_scene() as scene:
        scene.proxy.cut()
        await wait_until(lambda: len(scene.server.requests) >= 2)
        await scene.room.local_participant.set_metadata("1")
        await scene.call()
        assert scene.events == []
        # The last token that the server has sent.
        assert scene.server.tokens[:2] == [TOKEN, "refreshed.1.x"]


@pytest.mark.rule("L12")
async def test_who_came_and_left_meanwhile_is_announced() -> None:
    async with open_scene() as scene:
        scene.server.others[:] = [info("carol", "PA_carol")]
        scene.proxy.cut()
        await wait_until(lambda: len(scene.events) == 2)
        assert scene.events == ["-bob", "+carol"]
        assert scene.room.remote_participants.keys() == {"carol"}


@pytest.mark.rule("L12")
async def test_a_request_without_a_response_is_sent_again() -> None:
    async with open_scene() as scene, anyio.create_task_group() as task_group:
        scene.proxy.stall()
        task_group.start_soon(scene.room.local_participant.set_metadata, "1")
        await anyio.wait_all_tasks_blocked()
        scene.proxy.cut()
        scene.proxy.flow()
    requests = [each for each in scene.server.signals if each.HasField("update_metadata")]
    assert {each.update_metadata.metadata for each in requests} == {"1"}
    assert len({each.update_metadata.request_id for each in requests}) == 1


@pytest.mark.rule("L12")
async def test_a_websocket_that_answers_no_pings_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trio_rpc.links.webrtc.link._HASTE", 1 / 100)
    async with open_scene() as scene:
        scene.proxy.half_open()
        await wait_until(lambda: len(scene.server.requests) >= 2)
        await scene.call()
        assert scene.room.isconnected()


@pytest.mark.rule("L12")
async def test_a_server_without_signalling_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session's own timeout says nothing about a link whose packets arrive."""
    monkeypatch.setattr("trio_rpc.client.connection._HASTE", 1 / 50)
    async with open_scene() as scene:
        scene.proxy.refuse()
        scene.proxy.cut()
        await anyio.sleep(1)
        await scene.call()
        assert len(scene.server.requests) == 1


@pytest.mark.rule("L12")
@pytest.mark.parametrize(
    "why",
    ["leave", "401", "something else", "transport"],
)
async def test_what_can_not_be_resumed_is_rejoined(why: str) -> None:
    async with open_scene() as scene:
        match why:
            case "leave":
                leave = rtc.LeaveRequest(
                    reason=models.STATE_MISMATCH, action=rtc.LeaveRequest.RECONNECT
                )
                scene.server.reconnects = rtc.SignalResponse(leave=leave)
                scene.proxy.cut()
            case "401":
                scene.server.refusal = 401, "no"
                scene.proxy.cut()
            case "something else":
                scene.server.reconnects = rtc.SignalResponse(pong=1)
                scene.proxy.cut()
            case _:
                scene.server.lose_transport()
        await wait_until(lambda: "reconnected False" in scene.events)
        last = scene.server.requests[-1]
        assert not last.reconnect
        assert scene.room.local_participant.sid == f"PA_{len(scene.server.requests)}"
        assert scene.room.isconnected()
        await scene.call()


@pytest.mark.rule("L12")
async def test_a_server_whose_transport_failed_asks_to_resume_and_we_rejoin() -> None:
    async with open_scene() as scene:
        leave = rtc.LeaveRequest(reason=models.CONNECTION_TIMEOUT, action=rtc.LeaveRequest.RESUME)
        scene.server.say(rtc.SignalResponse(leave=leave))
        await wait_until(lambda: "reconnected False" in scene.events)
        assert [each.reconnect for each in scene.server.requests] == [False, False]


async def test_a_simulated_loss_is_followed_by_a_rejoin() -> None:
    async with open_scene() as scene:
        await scene.room.simulate_scenario("signal-reconnect")
        await wait_until(lambda: "reconnected False" in scene.events)
        await scene.call()


async def test_a_thread_that_fails_is_followed_by_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_scene() as scene:
        [shared] = _shared.values()
        stop_loop(shared.thread)
        await wait_until(lambda: "reconnected False" in scene.events)
        await scene.call()
        assert "the WebRTC thread failed" in caplog.messages
    assert not _shared
    collect()


async def test_a_lost_transport_is_the_end_without_a_policy() -> None:
    async def lose() -> None:
        async with open_scene(policy=None) as scene:
            scene.proxy.cut()
            await wait_until(lambda: len(scene.server.requests) == 2)
            await scene.call()
            scene.server.lose_transport()
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await lose()
    assert caught.group_contains(DisconnectedError)


async def test_packets_that_have_arrived_are_not_retained() -> None:
    async with open_scene() as scene:
        session = scene.room._session
        assert session is not None
        assert session._queue is not None
        retained = session._queue.retained
        await scene.call()
        await wait_until(lambda: not len(retained))


async def test_leaving_says_so_after_the_data() -> None:
    async with open_scene() as scene:
        await scene.room.local_participant.publish_data(b"last")
        await scene.room.disconnect()
        await scene.server.wait_signal("leave")
        assert scene.server.packets[-1].user.payload == b"last"


async def test_leaving_without_signalling_is_possible() -> None:
    async with open_scene() as scene:
        scene.proxy.refuse()
        scene.proxy.cut()
        await scene.call()
    assert not scene.room.isconnected()


# The roster is late


@pytest.mark.rule("C7")
async def test_a_call_waits_for_a_participant_that_is_announced_late() -> None:
    async with open_scene() as scene:
        dave = info("dave", "PA_dave")
        dave.client_protocol = 0

        async def announce() -> None:
            await anyio.sleep(0.2)
            scene.server.announce(dave)

        async with anyio.create_task_group() as task_group:
            task_group.start_soon(announce)
            response = await scene.room.local_participant.perform_rpc(
                destination_identity="dave", method="echo", payload="hi"
            )
        assert response == "hi"


@pytest.mark.rule("C7")
@pytest.mark.parametrize(
    ("response_timeout", "seconds"), [(10.0, 0.4), (0.2, 0.2)], ids=["late", "own timeout"]
)
async def test_a_call_to_nobody_waits_no_longer_than_that(
    monkeypatch: pytest.MonkeyPatch, response_timeout: float, seconds: float
) -> None:
    monkeypatch.setattr("trio_rpc.links.webrtc.link.WebRTCLink.roster_delay", 0.4)
    async with open_scene() as scene:
        started = anyio.current_time()
        with pytest.raises(RpcError) as caught:
            await scene.room.local_participant.perform_rpc(
                destination_identity="nobody",
                method="echo",
                payload="hi",
                response_timeout=response_timeout,
            )
        assert caught.value.code == RpcError.ErrorCode.RECIPIENT_NOT_FOUND
        assert anyio.current_time() - started >= seconds - 0.01
        with pytest.raises(RpcError) as caught:
            await scene.room.local_participant.perform_rpc(
                destination_identity="nobody", method="echo", payload="hi", wait_for_ready=False
            )
        assert caught.value.code == RpcError.ErrorCode.RECIPIENT_NOT_FOUND


async def test_we_are_announced_at_once() -> None:
    async with open_scene() as scene:
        request = await scene.server.wait_signal("publish_data_track_request")
        assert request.name == "trio_rpc"
        assert scene.room.local_participant.identity == "alice"
