"""The servers and addresses for ICE."""

from __future__ import annotations

import pytest
from livekit.protocol import rtc

from trio_rpc.links.webrtc.ice import IceServer, candidate_of, choose_ice_servers, own_addresses

STUN = rtc.ICEServer(urls=["stun:global.stun.twilio.com:3478", "stun:stun.l.google.com:19302"])
UDP = "turn:192.0.2.1:3478?transport=udp"
TLS = "turns:turn.example.com:443?transport=tcp"


def turn(*urls: str) -> rtc.ICEServer:
    return rtc.ICEServer(urls=urls, username="user", credential="pass")


def test_public_stun_servers_are_asked_on_request_alone() -> None:
    assert choose_ice_servers([STUN], uses_stun=False) == []
    chosen = choose_ice_servers([STUN], uses_stun=True)
    assert chosen == [IceServer("stun:global.stun.twilio.com:3478")]


@pytest.mark.parametrize("urls", [(UDP, TLS), (TLS, UDP)])
def test_turn_over_udp_comes_before_that_over_tls(urls: tuple[str, ...]) -> None:
    chosen = choose_ice_servers([STUN, turn(*urls)], uses_stun=False)
    assert chosen == [IceServer(UDP, "user", "pass")]


def test_turn_over_tls_is_used_where_it_is_the_only_one() -> None:
    assert choose_ice_servers([turn(TLS)], uses_stun=True) == [IceServer(TLS, "user", "pass")]


def test_turn_over_tls_comes_first_where_there_is_no_udp() -> None:
    chosen = choose_ice_servers([turn(UDP, TLS)], uses_stun=False, over_tls=True)
    assert chosen == [IceServer(TLS, "user", "pass")]
    assert choose_ice_servers([turn(UDP)], uses_stun=False, over_tls=True) == [
        IceServer(UDP, "user", "pass")
    ]


def test_the_address_of_loopback_is_ours_for_a_server_there() -> None:
    assert own_addresses("ws://127.0.0.1:7880") == ("127.0.0.1",)
    assert own_addresses("ws://localhost:7880") == ("127.0.0.1",)
    assert own_addresses("ws://[::1]:7880") == ("::1",)
    assert own_addresses("wss://example.com") == ()
    assert own_addresses("wss://192.0.2.1") == ()


def test_a_candidate_of_livekits_server_is_used() -> None:
    text = "candidate:1 1 udp 2130706431 127.0.0.1 52001 typ host ufrag abc"
    init = '{"candidate":"%s","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":null}'
    assert candidate_of(init % text) == text
