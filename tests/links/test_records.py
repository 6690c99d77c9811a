"""The records of a stream link, byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_rpc.links.records import (
    PREAMBLE,
    ProtocolMismatchError,
    Record,
    RecordDecoder,
    RecordKind,
    encode_record,
)

records = st.builds(Record, st.sampled_from(RecordKind), st.binary(max_size=200))


def decode_all(decoder: RecordDecoder) -> list[Record]:
    return [*iter(decoder.next_record, None)]


def test_a_record_is_a_kind_a_length_and_a_body() -> None:
    assert encode_record(RecordKind.MESSAGE, b"hello") == b"\x03\0\0\0\x05hello"
    assert encode_record(RecordKind.END, b"") == b"\x04\0\0\0\0"


@given(st.lists(records, max_size=10), st.lists(st.integers(1, 60), min_size=1))
def test_records_are_the_same_however_they_are_cut(sent: list[Record], sizes: list[int]) -> None:
    data = PREAMBLE + b"".join(encode_record(*record) for record in sent)
    decoder = RecordDecoder(200)
    turn = 0
    received: list[Record] = []
    while data:
        size = sizes[turn % len(sizes)]
        decoder.feed(data[:size])
        data = data[size:]
        if turn % 3:
            received += decode_all(decoder)
        turn += 1
    received += decode_all(decoder)
    assert received == sent
    assert {type(record.body) for record in received} <= {bytes}


def test_a_record_of_the_largest_size_is_taken_and_one_byte_more_is_refused_by_its_header() -> None:
    decoder = RecordDecoder(1_000)
    decoder.feed(PREAMBLE + encode_record(RecordKind.MESSAGE, bytes(1_000)))
    assert len(decode_all(decoder)) == 1
    decoder.feed(b"\x03\0\0\x03\xe9")
    with pytest.raises(ValueError, match=r"^a record of 1,001 bytes, over the limit of 1,000$"):
        decoder.next_record()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x03\xff\xff\xff\xff", "a record of 4,294,967,295 bytes, over the limit of 1,000"),
        (b"\x00\0\0\0\0", "a record of unknown kind 0"),
        (b"\xff\xff\xff\xff\xff", "a record of unknown kind 255"),
    ],
)
def test_what_came_before_nonsense_is_kept(data: bytes, text: str) -> None:
    decoder = RecordDecoder(1_000)
    decoder.feed(PREAMBLE + encode_record(RecordKind.MESSAGE, b"hello") + data)
    assert decoder.next_record() == (RecordKind.MESSAGE, b"hello")
    with pytest.raises(ValueError, match=f"^{text}$"):
        decoder.next_record()


@pytest.mark.parametrize(
    ("data", "spoken"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "HTTP"),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", "HTTP"),
        (b"CONNECT host:443 HTTP/1.1\r\n\r\n", "HTTP"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "TLS"),
        (b"trio-rpc.v2\n", "another version of trio-rpc"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "another protocol"),
        (b"\0", "another protocol"),
        (b"trio", None),
        (b"", None),
    ],
)
def test_another_protocol_is_known_by_its_first_bytes(data: bytes, spoken: str | None) -> None:
    decoder = RecordDecoder(1_000)
    decoder.feed(data)
    if spoken is None:
        assert decoder.next_record() is None
        return
    with pytest.raises(ProtocolMismatchError) as caught:
        decoder.next_record()
    assert caught.value.spoken == spoken
    assert str(caught.value) == f"it speaks {spoken}, not trio-rpc.v1"
