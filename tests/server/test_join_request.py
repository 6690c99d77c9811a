"""The description of a client in the URL with which it joins."""

from __future__ import annotations

import base64
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.protocol import models, rtc

from trio_rpc.server.join_request import (
    JoinParameters,
    Resumption,
    parse_join_request,
    parse_query,
)

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


# Whatever a client sends

INT32 = st.integers(-(2**31), 2**31 - 1)

join_requests = st.builds(
    rtc.JoinRequest,
    client_info=st.builds(
        models.ClientInfo,
        version=st.text() | st.integers(60, 70).map("v".__mul__),
        os=st.text(max_size=5),
        client_protocol=INT32 | st.integers(-1, 1_001),
        capabilities=st.lists(INT32) | st.integers(45, 55).map(range),
    ),
    publisher_offer=st.none() | st.builds(rtc.SessionDescription, sdp=st.text(max_size=20)),
    reconnect=st.booleans(),
    participant_sid=st.text(max_size=9),
    metadata=st.text(max_size=9),
    participant_attributes=st.dictionaries(st.text(max_size=3), st.text(max_size=3)),
    sync_state=st.builds(
        rtc.SyncState,
        datachannel_receive_states=st.lists(
            st.builds(
                rtc.DataChannelReceiveState,
                publisher_sid=st.text(max_size=3),
                last_seq=st.integers(0, 2**32 - 1),
            )
        ),
    ),
)


@given(join_requests, st.booleans())
def test_a_join_request_is_read_within_bounds(request: rtc.JoinRequest, compress: bool) -> None:
    body = request.SerializeToString()
    text = wrapped(gzip.compress(body) if compress else body, compress=compress)
    parameters = parse_join_request({"join_request": text})
    client = request.client_info
    assert parameters == JoinParameters(
        models.ClientInfo(
            version=client.version[:64],
            client_protocol=min(max(client.client_protocol, 0), 1_000),
            capabilities=client.capabilities[:50],
        ),
        single_peer_connection=True,
        offer=request.publisher_offer if request.HasField("publisher_offer") else None,
        resumption=Resumption(
            request.participant_sid,
            {
                each.publisher_sid: each.last_seq
                for each in request.sync_state.datachannel_receive_states
            },
        )
        if request.reconnect
        else None,
        last_sid="" if request.reconnect else request.participant_sid[:64],
        metadata=request.metadata,
        attributes=dict(request.participant_attributes),
    )


@pytest.mark.rule("N1")
def test_capabilities_in_a_query_are_names_as_livekit_has_them_or_numbers() -> None:
    text = "CAP_COMPRESSION_DEFLATE_RAW,7201,,CAP_NONSENSE,-1," + "9" * 500
    capabilities = parse_query({"capabilities": text}).client.capabilities
    assert list(capabilities) == [models.ClientInfo.CAP_COMPRESSION_DEFLATE_RAW, 7201, 65_535]


@st.composite
def damaged_requests(draw: st.DrawFn) -> str:
    """Draw a join request some of whose bytes are replaced, added or missing."""
    body = draw(join_requests).SerializeToString()
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(body)))
        body = body[:start] + draw(st.binary(max_size=3)) + body[start + draw(st.integers(0, 3)) :]
    return wrapped(body, compress=False)


@given(st.text() | st.binary().map(wrapped) | damaged_requests())
def test_garbage_is_read_within_bounds_or_refused(text: str) -> None:
    try:
        parameters = parse_join_request({"join_request": text})
    except ValueError:
        return
    assert parameters.single_peer_connection
    client = parameters.client
    assert len(client.version) <= 64
    assert len(client.capabilities) <= 50
    assert 0 <= client.client_protocol <= 1_000
    # Nothing else of it is kept.
    assert client == models.ClientInfo(
        version=client.version,
        client_protocol=client.client_protocol,
        capabilities=client.capabilities,
    )


@given(protocol=st.integers(0, 9_999), capabilities=st.lists(st.integers(0, 99_999), max_size=15))
def test_an_older_query_is_read_within_bounds(protocol: int, capabilities: list[int]) -> None:
    query = {
        "version": "v" * protocol,
        "client_protocol": str(protocol),
        "capabilities": ",".join(map(str, capabilities)),
    }
    client = parse_query(query).client
    assert client.version == "v" * min(protocol, 64)
    assert client.client_protocol == min(protocol, 1_000)
    assert client.capabilities == [min(each, 65_535) for each in capabilities]


DIGITS = frozenset("0123456789")
#: Numbers, some of which have a sign or digits of another script.
NUMBERS = st.integers().map(str) | st.text(st.characters(categories=["Nd"]), max_size=3)


@given(
    version=st.text() | st.integers(60, 70).map("v".__mul__),
    protocol=(st.text() | NUMBERS).filter(lambda text: not text[:4] or not {*text[:4]} <= DIGITS),
    capabilities=(st.text() | NUMBERS).filter(lambda text: not DIGITS | {","} >= {*text[:100]}),
)
def test_garbage_in_an_older_query_is_left_out(
    version: str, protocol: str, capabilities: str
) -> None:
    query = {"version": version, "client_protocol": protocol, "capabilities": capabilities}
    parameters = parse_query(query)
    assert not parameters.single_peer_connection
    assert parameters.client == models.ClientInfo(version=version[:64])
