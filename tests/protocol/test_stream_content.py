"""Cutting, deflating and putting together again: any content comes out as it went in (S4, S5)."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from livekit.protocol import models

from trio_rpc.protocol.deflating import CODEC, ZLIB, Codec, InflateError, Inflater, deflate
from trio_rpc.protocol.stream_assembly import StreamAssembly
from trio_rpc.protocol.stream_content import CHUNK_BYTES, split_bytes, split_text

#: Texts around the size of a chunk, of characters of every length.
long_texts = st.builds(
    lambda prefix, text, times: prefix + text * times,
    st.text(max_size=8),
    st.text(min_size=1, max_size=4),
    st.sampled_from([1, 3_700, 5_000, 7_500, 15_000, 20_000]),
)


#: One with and one without `isal`, as writer and as reader.
codecs = pytest.mark.parametrize(
    ("writer", "reader"), [(CODEC, CODEC), (CODEC, ZLIB), (ZLIB, CODEC), (ZLIB, ZLIB)]
)


def assembled(chunks: list[bytes], total_length: int, reader: Codec | None = None) -> bytes:
    """Return the content of a stream, compressed if there is a codec to read it with."""
    header = models.DataStream.Header(total_length=total_length)
    if reader is not None:
        header.compression = models.DataStream.CompressionType.DEFLATE_RAW
    assembly = StreamAssembly(header)
    pieces = [
        assembly.add_chunk(models.DataStream.Chunk(chunk_index=index, content=chunk))
        for index, chunk in enumerate(chunks)
    ]
    assembly.finish()
    return b"".join(pieces if reader is None else inflated(pieces, 1_000, reader))


def inflated(pieces: Iterable[bytes], max_bytes: int, reader: Codec) -> Iterator[bytes]:
    inflater = Inflater(reader)
    for piece in pieces:
        inflater.feed(piece)
        while content := inflater.inflate(max_bytes):
            yield content
    assert inflater.is_complete


@pytest.mark.rule("S4")
@given(text=long_texts)
@example(text="")
def test_pieces_of_a_text_are_whole_characters_and_not_too_large(text: str) -> None:
    chunks = list(split_text(text))
    assert all(0 < len(chunk) <= CHUNK_BYTES for chunk in chunks)
    assert "".join(chunk.decode() for chunk in chunks) == text
    # None is smaller than it has to be: the next character would not have fitted.
    assert all(len(chunk) > CHUNK_BYTES - 4 for chunk in chunks[:-1])
    assert assembled(chunks, len(text.encode())) == text.encode()


@pytest.mark.rule("B4")
def test_a_large_text_is_not_held_a_second_time_while_it_is_sent() -> None:
    text = "語" * 1_000_000
    tracemalloc.start()
    try:
        assert sum(map(len, split_text(text))) == 3_000_000
        assert len(deflate(split_text(text))) < 100_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.rule("S4", "S5")
@codecs
@given(content=st.binary(max_size=100) | long_texts.map(str.encode))
def test_any_content_survives_deflating_cutting_and_assembly(
    content: bytes, writer: Codec, reader: Codec
) -> None:
    chunks = list(split_bytes(deflate([content], writer)))
    assert all(0 < len(chunk) <= CHUNK_BYTES for chunk in chunks)
    assert assembled(chunks, len(content), reader) == content
    chunks = list(split_bytes(content))
    assert [len(chunk) for chunk in chunks[:-1]] == [CHUNK_BYTES] * (len(chunks) - 1)
    assert assembled(chunks, len(content)) == content


@pytest.mark.rule("S5")
@codecs
@given(content=st.binary(max_size=2_000), cuts=st.lists(st.integers(0, 2_000), max_size=5))
def test_deflated_content_may_be_cut_anywhere(
    content: bytes, cuts: list[int], writer: Codec, reader: Codec
) -> None:
    raw = deflate([content], writer)
    ends = sorted(min(cut, len(raw)) for cut in cuts)
    pieces = [raw[a:b] for a, b in zip([0, *ends], [*ends, len(raw)], strict=True)]
    assert assembled(pieces, len(content), reader) == content


@pytest.mark.rule("S7")
@codecs
@given(size=st.integers(0, 3_000), limit=st.integers(1, 2_000))
def test_a_piece_never_inflates_to_more_than_it_may(
    size: int, limit: int, writer: Codec, reader: Codec
) -> None:
    pieces = list(inflated([deflate([bytes(size)], writer)], limit, reader))
    assert b"".join(pieces) == bytes(size)
    assert all(len(piece) <= limit for piece in pieces)


@pytest.mark.rule("S6")
@codecs
@given(content=st.binary(max_size=100), rest=st.binary(min_size=1, max_size=100))
def test_what_follows_the_end_is_an_error(
    content: bytes, rest: bytes, writer: Codec, reader: Codec
) -> None:
    with pytest.raises(InflateError, match="after the end"):
        list(inflated([deflate([content], writer), rest], 1_000, reader))


@pytest.mark.rule("S6")
@pytest.mark.parametrize("reader", [CODEC, ZLIB])
def test_what_is_not_deflated_is_an_error(reader: Codec) -> None:
    with pytest.raises(InflateError, match="not deflate-raw"):
        list(inflated([b"\xff" * 10], 1_000, reader))
