"""The description of a client in the URL with which it joins."""

from __future__ import annotations

import base64
import gzip
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.protocol import models, rtc

from trio_rpc.server.join_request import Resumption, parse_join_request, parse_query

from ..webrtc.descriptions import OFFER
from .webrtc.client import join_request


@pytest.mark.parametrize("compress", [True, False], ids=["gzip", "plain"])
def test_a_join_request_has_the_client_and_its_offer(compress: bool) -> None:
    parameters = parse_join_request({"join_request": join_request(OFFER, compress=compress)})
    assert parameters.client.client_protocol == 2
    assert parameters.single_peer_connection
    assert parameters.offer is not None
    assert (parameters.offer.sdp, parameters.offer.id) == (OFFER, 1)
    assert parameters.resumption is None


def test_a_join_request_may_be_without_an_offer_and_be_a_resume() -> None:
    parameters = parse_join_request({"join_request": join_request(reconnect=True)})
    assert parameters.offer is None
    assert parameters.resumption == Resumption("")


@pytest.mark.rule("N1")
def test_of_a_client_others_get_what_they_need_within_bounds() -> None:
    info = models.ClientInfo(
        version="v" * 1000,
        os="x" * 1000,
        client_protocol=2**31 - 1,
        capabilities=[*range(1000)],
    )
    request = rtc.JoinRequest(client_info=info).SerializeToString()
    wrapped = rtc.WrappedJoinRequest(join_request=request).SerializeToString()
    text = base64.urlsafe_b64encode(wrapped).decode()
    assert parse_join_request({"join_request": text}).client == models.ClientInfo(
        version="v" * 64,
        client_protocol=1_000,
        capabilities=[*range(50)],
    )


def wrapped(body: bytes, *, compress: bool = True) -> str:
    compression = rtc.WrappedJoinRequest.GZIP if compress else rtc.WrappedJoinRequest.NONE
    message = rtc.WrappedJoinRequest(compression=compression, join_request=body)
    return base64.urlsafe_b64encode(message.SerializeToString()).decode()


BOMB = gzip.compress(bytes(50_000_000))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the parameter join_request is missing"),
        ("a", "join_request can't be read: Error"),
        ("\N{SNOWMAN}", "string argument should contain only ASCII characters"),
        (base64.b64encode(b"\xff").decode(), "join_request can't be read: DecodeError"),
        (wrapped(b"not gzip"), "join_request can't be read: error"),
        (wrapped(gzip.compress(b"\xff")), "join_request can't be read: DecodeError"),
        (wrapped(b"\xff", compress=False), "join_request can't be read: DecodeError"),
        (wrapped(gzip.compress(bytes(100))[:-9]), "join_request is cut off"),
        (wrapped(BOMB), "join_request inflates to more than 524,288 bytes"),
    ],
    ids=[
        "empty",
        "one character",
        "not ASCII",
        "not WrappedJoinRequest",
        "not gzip",
        "gzip of no JoinRequest",
        "not JoinRequest",
        "cut off",
        "bomb",
    ],
)
def test_what_is_no_join_request_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}$"):
        parse_join_request({"join_request": text})


@given(st.text() | st.binary().map(lambda body: base64.urlsafe_b64encode(body).decode()))
def test_garbage_is_read_or_refused(text: str) -> None:
    with suppress(ValueError):
        parse_join_request({"join_request": text})


@given(st.dictionaries(st.sampled_from(["version", "client_protocol", "capabilities"]), st.text()))
def test_garbage_in_an_older_query_is_left_out(query: dict[str, str]) -> None:
    parameters = parse_query(query)
    assert not parameters.single_peer_connection
    assert 0 <= parameters.client.client_protocol <= 1_000
