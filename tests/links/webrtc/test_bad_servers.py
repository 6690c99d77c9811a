"""Servers that misbehave: joining fails with a reason, in time."""

from __future__ import annotations

import json

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import ConnectError, Room

from ...support.waiting import wait_until
from ...webrtc.descriptions import OFFER
from .livekit_server import Tamper, scripted_livekit

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


async def connect_error(tamper: Tamper, monkeypatch: pytest.MonkeyPatch | None = None) -> str:
    """Return the error of joining a server that changes what it says."""

    def hasten(response: rtc.SignalResponse) -> rtc.SignalResponse | None:
        if monkeypatch is not None and response.HasField("join"):
            # What comes before takes its time on a busy machine.
            monkeypatch.setattr("trio_rpc.links.webrtc.link.OPEN_TIMEOUT", 0.5)
        return tamper(response)

    async with scripted_livekit() as (server, url):
        server.tamper = hasten
        with pytest.raises(ConnectError) as caught:
            await join(url)
    return str(caught.value)


async def join(url: str) -> None:
    async with Room().connect(url, "a.b.c"):
        raise AssertionError("joined")


def without_a_word(_: rtc.SignalResponse) -> None:
    return None


def without_answer(response: rtc.SignalResponse) -> rtc.SignalResponse | None:
    return None if response.HasField("answer") else response


def with_a_bad_answer(response: rtc.SignalResponse) -> rtc.SignalResponse:
    if response.HasField("answer"):
        response.answer.sdp = "garbage"
    return response


GARBAGE = {
    "empty": "",
    "text": "garbage",
    "no channels": OFFER.replace("m=application", "m=audio"),
    "cut off": OFFER[:-40],
    "huge": OFFER + "a" * 300_000,
}
NO_CONNECTION = "no WebRTC connection to the server"


@pytest.mark.parametrize("sdp", GARBAGE.values(), ids=GARBAGE.keys())
async def test_an_answer_that_can_not_be_used(sdp: str) -> None:
    def tamper(response: rtc.SignalResponse) -> rtc.SignalResponse:
        if response.HasField("answer"):
            response.answer.sdp = sdp
        return response

    error = await connect_error(tamper)
    assert error.startswith(f"{NO_CONNECTION}: its session description can't be used")


async def test_a_server_that_does_not_answer_the_offer(monkeypatch: pytest.MonkeyPatch) -> None:
    error = await connect_error(without_answer, monkeypatch)
    assert error.startswith(f"{NO_CONNECTION} within 0.5 s: ")


ADDRESSES = {
    "foreign": "candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host",
    "name": "candidate:1 1 udp 2130706431 evil.example.com 50000 typ host",
    "tcp": "candidate:1 1 tcp 1671430143 127.0.0.1 7981 typ host tcptype passive",
    "short": "candidate:1 1 udp",
    "no port": "candidate:1 1 udp 2130706431 127.0.0.1 port typ host",
}
CANDIDATES = {
    **{name: json.dumps({"candidate": each}) for name, each in ADDRESSES.items()},
    "no json": "candidate",
    "a list": "[]",
    "a number": '{"candidate": 1}',
    "deep": "[" * 4_000,
    "huge": json.dumps({"candidate": "x" * 10_000}),
}


@pytest.mark.parametrize("candidate", CANDIDATES.values(), ids=CANDIDATES.keys())
async def test_addresses_at_which_there_is_no_server(
    candidate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tamper(response: rtc.SignalResponse) -> rtc.SignalResponse:
        if response.HasField("trickle"):
            response.trickle.candidateInit = candidate
        return response

    assert (await connect_error(tamper, monkeypatch)).startswith(f"{NO_CONNECTION} within 0.5 s: ")


async def test_addresses_without_end_are_not_tried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "trio_rpc.links.webrtc")
    foreign = ADDRESSES["foreign"]
    async with scripted_livekit() as (server, url):

        def tamper(response: rtc.SignalResponse) -> rtc.SignalResponse:
            if response.HasField("trickle"):
                server.tamper = lambda response: response
                for number in range(100):
                    init = json.dumps({"candidate": foreign.replace("1 1", f"{number} 1")})
                    server.say(rtc.SignalResponse(trickle=rtc.TrickleRequest(candidateInit=init)))
            return response

        server.tamper = tamper

        async with anyio.create_task_group() as task_group:
            task_group.start_soon(join, url)
            await wait_until(lambda: "ignored an address: 50 came before" in caplog.messages)
            task_group.cancel_scope.cancel()


async def test_a_server_that_rejects_us_while_we_connect() -> None:
    def tamper(response: rtc.SignalResponse) -> rtc.SignalResponse:
        if response.HasField("answer"):
            leave = rtc.LeaveRequest(reason=models.ROOM_DELETED)
            return rtc.SignalResponse(leave=leave)
        return response

    assert await connect_error(tamper) == "the server rejected us: ROOM_DELETED"


async def test_a_server_that_rejects_us_at_once() -> None:
    def tamper(response: rtc.SignalResponse) -> rtc.SignalResponse:
        leave = rtc.LeaveRequest(reason=models.USER_REJECTED)
        return rtc.SignalResponse(leave=leave)

    assert await connect_error(tamper) == "the server rejected us: USER_REJECTED"


async def test_a_first_message_that_is_no_answer() -> None:
    def tamper(response: rtc.SignalResponse) -> rtc.SignalResponse:
        return rtc.SignalResponse(pong=1) if response.HasField("join") else response

    assert await connect_error(tamper) == "the server's first message was not a JoinResponse"


async def test_servers_for_ice_that_are_none_are_not_used() -> None:
    async with scripted_livekit() as (server, url):
        urls = ["turn:", "stun:[", "turn:a?transport=sctp", "http://a", "", "x" * 999]
        server.ice_servers = [rtc.ICEServer(urls=urls)]
        async with Room().connect(url, "a.b.c") as room:
            assert room.isconnected()


async def test_without_udp_the_server_is_tried_by_turn_over_tls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trio_rpc.links.webrtc.link.FIRST_OPEN_TIMEOUT", 0.3)
    async with scripted_livekit() as (server, url):
        # Nobody listens there: what is found is the server itself, the second time.
        urls = ["turn:127.0.0.1:9?transport=udp", "turns:127.0.0.1:9?transport=tcp"]
        server.ice_servers = [rtc.ICEServer(urls=urls, username="user", credential="pass")]

        def tamper(response: rtc.SignalResponse) -> rtc.SignalResponse | None:
            is_first = len(server.requests) == 1
            return None if is_first and response.HasField("answer") else response

        server.tamper = tamper
        async with Room().connect(url, "a.b.c") as room:
            assert room.isconnected()
            assert len(server.requests) == 2


async def test_the_end_of_a_server_while_we_connect() -> None:
    async with scripted_livekit() as (server, url):

        def tamper(response: rtc.SignalResponse) -> rtc.SignalResponse | None:
            if response.HasField("answer"):
                server.hang_up()
                return None
            return response

        server.tamper = tamper
        with pytest.raises(ConnectError, match=f"^{NO_CONNECTION}: the WebSocket of the signal"):
            await join(url)


async def test_a_join_that_is_cancelled_leaves_the_room() -> None:
    async with scripted_livekit() as (server, url):
        server.tamper = without_answer
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(join, url)
            await server.wait_signal("offer")
            task_group.cancel_scope.cancel()
        await server.wait_signal("leave")


@pytest.mark.parametrize("tamper", [without_a_word, without_answer, with_a_bad_answer])
async def test_a_join_that_fails_leaves_the_room(
    tamper: Tamper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_rpc.links.webrtc.link.OPEN_TIMEOUT", 0.5)
    async with scripted_livekit() as (server, url):
        server.tamper = tamper
        with pytest.raises(ConnectError):
            await join(url)
        await server.wait_signal("leave")
