"""Properties of packets, limits, timeouts and sequences."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Final

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st
from livekit.protocol import models

from trio_rpc import RpcError
from trio_rpc.protocol.limits import (
    MAX_PACKET_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_TIMEOUT_MS,
    truncate_utf8,
    utf8_length,
    wire_timeout_ms,
)
from trio_rpc.protocol.packets import MalformedPacketError, parse_packet
from trio_rpc.protocol.rpc_messages import rpc_ack, rpc_error, rpc_request, rpc_response
from trio_rpc.protocol.sequences import SequenceFilter

TEXT: Final = st.text(st.characters(exclude_categories=["Cs"]))
#: What names a request, and a participant (B2).
REQUEST_ID: Final = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=32)
IDENTITY: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=64)
ANY_TEXT: Final = st.text(st.characters())
UINT32: Final = st.integers(0, 2**32 - 1)

# Packets


def build_packets(name: st.SearchStrategy[str]) -> st.SearchStrategy[models.DataPacket]:
    """Return packets of all kinds that name requests and streams, by names like `name`."""
    stream = models.DataStream
    attributes = st.dictionaries(name, name, max_size=2)
    values = {
        "user": st.builds(models.UserPacket, payload=st.binary(max_size=9), topic=name),
        "rpc_request": st.builds(models.RpcRequest, id=name, method=name, payload=name),
        "rpc_ack": st.builds(models.RpcAck, request_id=name),
        "rpc_response": st.builds(models.RpcResponse, request_id=name, payload=name),
        "stream_header": st.builds(stream.Header, stream_id=name, attributes=attributes),
        "stream_chunk": st.builds(stream.Chunk, stream_id=name, chunk_index=UINT32),
        "stream_trailer": st.builds(stream.Trailer, stream_id=name, attributes=attributes),
    }
    return st.one_of(
        *(
            st.builds(models.DataPacket, participant_identity=name, **{kind: value})
            for kind, value in values.items()
        )
    )


def has_names(packet: models.DataPacket) -> bool:
    """Whether a packet with a value has the names that it must have (B2)."""
    kind = packet.WhichOneof("value")
    value: Any = getattr(packet, kind or "")
    match kind:
        case "rpc_request":
            names = [value.id]
        case "rpc_ack" | "rpc_response":
            names = [value.request_id]
        case "stream_chunk":
            names = [value.stream_id]
        case "stream_header" | "stream_trailer":
            names = [value.stream_id, *value.attributes]
        case _:
            names = []
    return "" not in names


def assert_parsed_or_malformed(body: bytes) -> None:
    """Check what becomes of up to 250 bytes, in which no name and no list is too long."""
    assert len(body) <= 250
    try:
        packet = models.DataPacket.FromString(body)
    except DecodeError:
        packet = models.DataPacket()
    if packet.WhichOneof("value") is None or not has_names(packet):
        with pytest.raises(MalformedPacketError) as caught:
            parse_packet(body)
        assert caught.value.sender == packet.participant_identity
    else:
        assert parse_packet(body) == (packet, packet.WhichOneof("value"))


NAME: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)


@pytest.mark.rule("P1", "P8", "B2")
@given(
    st.binary(max_size=250)
    | build_packets(NAME).map(lambda packet: packet.SerializeToString())
    | st.builds(models.DataPacket, participant_identity=NAME).map(
        lambda packet: packet.SerializeToString()
    )
)
def test_bytes_are_a_packet_or_malformed(body: bytes) -> None:
    assert_parsed_or_malformed(body)


@pytest.mark.rule("P8", "B2")
@given(packet=build_packets(NAME), data=st.data())
def test_a_packet_that_was_damaged_is_a_packet_or_malformed(
    packet: models.DataPacket, data: st.DataObject
) -> None:
    body = bytearray(packet.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    assert_parsed_or_malformed(bytes(body))


@pytest.mark.rule("P1", "P3", "P4")
@given(destination=IDENTITY, request_id=REQUEST_ID, method=TEXT, payload=TEXT, timeout_ms=UINT32)
def test_a_request_comes_out_as_it_went_in(
    destination: str, request_id: str, method: str, payload: str, timeout_ms: int
) -> None:
    packet = rpc_request(destination, request_id, method, payload, timeout_ms)
    parsed, _ = parse_packet(packet.SerializeToString())
    request = parsed.rpc_request
    assert parsed.destination_identities == [destination]
    assert (request.id, request.method, request.payload) == (request_id, method, payload)
    assert (request.response_timeout_ms, request.version) == (timeout_ms, 1)


@pytest.mark.rule("P1", "P3", "P4")
@given(destination=IDENTITY, request_id=REQUEST_ID)
def test_an_ack_comes_out_as_it_went_in(destination: str, request_id: str) -> None:
    parsed, _ = parse_packet(rpc_ack(destination, request_id).SerializeToString())
    assert parsed.destination_identities == [destination]
    assert parsed.rpc_ack.request_id == request_id


@pytest.mark.rule("P1", "P3", "P4")
@given(destination=IDENTITY, request_id=REQUEST_ID, payload=TEXT)
def test_a_response_comes_out_as_it_went_in(
    destination: str, request_id: str, payload: str
) -> None:
    parsed, _ = parse_packet(rpc_response(destination, request_id, payload).SerializeToString())
    assert parsed.destination_identities == [destination]
    assert parsed.rpc_response.request_id == request_id
    assert parsed.rpc_response.HasField("payload")
    assert parsed.rpc_response.payload == payload


@pytest.mark.rule("B2")
@given(
    request_id=st.builds(str.__mul__, st.sampled_from(["x", "é", "€", "😀"]), st.integers(0, 140)),
    padding=st.sampled_from([0, 60, 100, 1_000]),
    kind=st.sampled_from(["rpc_request", "rpc_ack", "rpc_response"]),
)
@example(request_id="x" * 128, padding=0, kind="rpc_ack")
@example(request_id="x" * 129, padding=0, kind="rpc_ack")
@example(request_id="é" * 64, padding=0, kind="rpc_response")
@example(request_id="é" * 65, padding=0, kind="rpc_response")
@example(request_id="", padding=100, kind="rpc_request")
def test_a_request_id_has_1_to_128_bytes_in_a_packet_of_any_size(
    request_id: str, padding: int, kind: str
) -> None:
    packet = {
        "rpc_request": rpc_request("bob", request_id, "m", "p", 1),
        "rpc_ack": rpc_ack("bob", request_id),
        "rpc_response": rpc_response("bob", request_id, "p"),
    }[kind]
    packet.participant_sid = "x" * padding
    body = packet.SerializeToString()
    if 1 <= len(request_id.encode()) <= 128:
        assert parse_packet(body) == (packet, kind)
    else:
        with pytest.raises(MalformedPacketError, match="a request id of"):
            parse_packet(body)


@pytest.mark.rule("A6", "C14", "P3")
@given(code=UINT32, message=ANY_TEXT, data=st.none() | ANY_TEXT, repeats=st.integers(1, 500))
@example(code=0, message="\ud800", data="\udfff", repeats=20_000)
def test_an_error_comes_out_cut_to_its_limits(
    code: int, message: str, data: str | None, repeats: int
) -> None:
    error = RpcError(code, message * repeats, data and data * repeats)
    body = rpc_response("bob", "1", error).SerializeToString()
    response = parse_packet(body)[0].rpc_response
    assert response.HasField("error")
    outcome = rpc_error(response.error)
    assert outcome.code == code
    assert outcome.message == truncate_utf8(error.message, 256)
    assert outcome.data == (truncate_utf8(error.data or "", MAX_PAYLOAD_BYTES) or None)


@pytest.mark.rule("P7")
@given(st.integers(MAX_PACKET_BYTES - 3, MAX_PACKET_BYTES + 3))
def test_a_packet_has_up_to_64000_bytes(size: int) -> None:
    body = models.DataPacket(user=models.UserPacket(payload=bytes(size - 8))).SerializeToString()
    assert len(body) == size
    if size <= 64_000:
        assert len(parse_packet(body)[0].user.payload) == size - 8
    else:
        with pytest.raises(MalformedPacketError, match=f"a packet of {size:,} bytes, over"):
            parse_packet(body)


# Limits


@pytest.mark.rule("A6")
@given(text=TEXT, limit=st.integers(0, 40))
@example(text="\N{GRINNING FACE}" * 3, limit=11)
@example(text="", limit=0)
def test_text_is_cut_on_the_last_boundary_that_fits(text: str, limit: int) -> None:
    cut = truncate_utf8(text, limit)
    assert text.startswith(cut)
    assert len(cut.encode()) <= limit
    one_more = text[: len(cut) + 1]
    assert one_more == text == cut or len(one_more.encode()) > limit


@pytest.mark.rule("A6")
@given(text=ANY_TEXT, limit=st.integers(0, 40))
def test_what_is_cut_can_always_be_sent(text: str, limit: int) -> None:
    assert len(truncate_utf8(text, limit).encode()) <= limit


@pytest.mark.rule("C10", "C11")
@given(ANY_TEXT)
def test_the_length_of_text_is_that_of_its_utf8(text: str) -> None:
    try:
        expected = len(text.encode())
    except UnicodeEncodeError:
        with pytest.raises(ValueError, match="surrogates not allowed"):
            utf8_length(text)
    else:
        assert utf8_length(text) == expected


# Timeouts

_SECONDS: Final = st.floats(0, allow_nan=False, exclude_min=True)
_ROUND_TRIP: Final = st.floats(0, 1e6)


@pytest.mark.rule("C3", "P3")
@given(remaining=_SECONDS, round_trip=_ROUND_TRIP)
@example(remaining=math.inf, round_trip=0.0)
@example(remaining=5e-324, round_trip=0.0)
@example(remaining=1.7e308, round_trip=0.0)
@example(remaining=4_294_967.295, round_trip=0.0)
def test_a_timeout_on_the_wire_fits_and_is_shorter(remaining: float, round_trip: float) -> None:
    timeout_ms = wire_timeout_ms(remaining, round_trip)
    assert 1 <= timeout_ms <= MAX_TIMEOUT_MS
    if timeout_ms > 1:
        assert timeout_ms < remaining * 1000
        assert math.isinf(remaining) or timeout_ms < Fraction(remaining) * 1000


@pytest.mark.rule("C3")
@given(
    remaining=st.integers(1, MAX_TIMEOUT_MS * 8).map(lambda eighths: eighths / 8_192),
    round_trip=st.integers(0, 16_384).map(lambda parts: parts / 8_192),
)
def test_no_more_is_taken_off_than_has_to_be(remaining: float, round_trip: float) -> None:
    # Numbers of which a float holds every digit.
    left_ms = (Fraction(remaining) - Fraction(round_trip)) * 1000
    longest = math.ceil(left_ms) - 1
    assert wire_timeout_ms(remaining, round_trip) == min(max(longest, 1), MAX_TIMEOUT_MS)


@pytest.mark.rule("C3")
@given(_SECONDS, _SECONDS, _ROUND_TRIP)
def test_who_has_more_time_gives_no_less(one: float, other: float, round_trip: float) -> None:
    less, more = sorted([one, other])
    assert wire_timeout_ms(less, round_trip) <= wire_timeout_ms(more, round_trip)


# Sequences

_NEAR: Final = st.integers(1, 3_000)
_STEPS: Final = st.lists(st.integers(-1_100, 1_100), max_size=100)


def assert_like_a_set(sequences: list[int]) -> None:
    """Check that a filter forgets only sequences older than the window."""
    sequence_filter = SequenceFilter()
    seen: set[int] = set()
    for sequence in sequences:
        oldest = max(seen, default=0) - 1_023
        expected = sequence == 0 or (sequence >= oldest and sequence not in seen)
        assert sequence_filter.is_new(sequence) is expected, sequence
        if sequence:
            seen.add(sequence)


@pytest.mark.rule("P6")
@given(st.lists(st.integers(0, 40) | _NEAR | UINT32, max_size=100))
@example([1_024, 1, 0, 1, 0])
@example([1_025, 1, 2, 2])
@example([2**32 - 1, 2**32 - 1, 1])
def test_a_sequence_is_new_once(sequences: list[int]) -> None:
    assert_like_a_set(sequences)


@pytest.mark.rule("P6")
@given(start=UINT32, steps=_STEPS)
def test_a_sequence_near_the_others_is_new_once(start: int, steps: list[int]) -> None:
    sequences = [start]
    for step in steps:
        sequences.append(min(max(sequences[-1] + step, 0), 2**32 - 1))
    assert_like_a_set(sequences)


@pytest.mark.rule("P6")
@given(st.permutations(range(1, 200)))
def test_every_order_of_new_sequences_is_new(sequences: list[int]) -> None:
    sequence_filter = SequenceFilter()
    assert all(map(sequence_filter.is_new, sequences))
    assert not any(map(sequence_filter.is_new, sequences))
