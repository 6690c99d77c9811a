"""Properties of frames and of the malformed limit."""

from __future__ import annotations

from typing import Final

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from trio_rpc.links import Channel, Frame
from trio_rpc.links.frames import FRAME_OVERHEAD, decode_frames, encode_frames
from trio_rpc.protocol.malformed import MalformedLimiter

# Frames

_FRAME_LISTS: Final = st.lists(
    st.builds(
        Frame,
        st.sampled_from(Channel),
        st.binary(max_size=40) | st.integers(126, 20_000).map(bytes),
    ),
    min_size=1,
    max_size=8,
)


def _frames_type() -> type:
    """Build the message type that the documentation of `frames` shows."""
    file = descriptor_pb2.FileDescriptorProto(name="frames.proto", syntax="proto3")
    message = file.message_type.add(name="Frames")
    for channel in Channel:
        message.field.add(
            name=channel.name.lower(),
            number=channel,
            type=descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
            label=descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED,
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Frames"))


_FRAMES_TYPE: Final = _frames_type()


@pytest.mark.rule("P1")
@given(_FRAME_LISTS)
def test_frames_come_out_as_they_went_in(frames: list[Frame]) -> None:
    message = encode_frames(frames)
    assert decode_frames(message) == frames
    assert len(message) <= sum(len(frame.body) + FRAME_OVERHEAD for frame in frames)


def assert_frames_are(encoded: bytes, frames: list[Frame]) -> None:
    """Check that protobuf reads these frames in a message."""
    message = _FRAMES_TYPE.FromString(encoded)  # type: ignore[attr-defined]
    for channel in Channel:
        bodies = [frame.body for frame in frames if frame.channel is channel]
        assert list(getattr(message, channel.name.lower())) == bodies


@pytest.mark.rule("P1")
@given(_FRAME_LISTS)
def test_a_message_of_frames_is_protobuf(frames: list[Frame]) -> None:
    assert_frames_are(encode_frames(frames), frames)


@pytest.mark.rule("P1")
@given(_FRAME_LISTS, _FRAME_LISTS)
def test_messages_of_frames_can_be_joined(some: list[Frame], more: list[Frame]) -> None:
    assert decode_frames(encode_frames(some) + encode_frames(more)) == some + more


@pytest.mark.rule("P1", "P8")
@given(_FRAME_LISTS, st.integers(5, 15), st.binary(max_size=127), st.integers(0, 8))
def test_other_fields_are_skipped(
    frames: list[Frame], number: int, body: bytes, position: int
) -> None:
    later = bytes([number << 3 | 2, len(body)]) + body
    encoded = [encode_frames([frame]) for frame in frames]
    encoded.insert(min(position, len(encoded)), later)
    assert decode_frames(b"".join(encoded)) == frames


@pytest.mark.rule("P8")
@given(frames=_FRAME_LISTS, data=st.data())
def test_bytes_are_frames_or_raise_a_value_error(frames: list[Frame], data: st.DataObject) -> None:
    message = bytearray(encode_frames(frames))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(message)))
        message[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        decoded = decode_frames(bytes(message))
    except ValueError:
        return
    assert decoded
    # They are what protobuf takes them for.
    assert_frames_are(bytes(message), decoded)


@pytest.mark.rule("P8")
@given(_FRAME_LISTS, st.integers(1, 100))
def test_a_message_that_was_cut_short_holds_the_first_frames_or_none(
    frames: list[Frame], missing: int
) -> None:
    try:
        rest = decode_frames(encode_frames(frames)[:-missing])
    except ValueError:
        return
    assert rest == frames[: len(rest)]
    assert len(rest) < len(frames)


# Floods

_LIMIT: Final = st.integers(1, 200)
_NOW: Final = st.floats(0, 1e9)


@pytest.mark.rule("P8")
@given(limit=_LIMIT, now=_NOW)
def test_a_limited_number_may_come_at_once(limit: int, now: float) -> None:
    limiter = MalformedLimiter(limit=limit)
    assert all(limiter.allow(now) for _ in range(limit))
    assert not any(limiter.allow(now) for _ in range(limit))


@pytest.mark.rule("P8")
@given(limit=_LIMIT, now=st.floats(0, 1e6), seconds=st.floats(0.1, 100))
def test_a_slow_trickle_may_come_for_ever(limit: int, now: float, seconds: float) -> None:
    limiter = MalformedLimiter(limit=limit, seconds=seconds)
    interval = 1.001 * seconds / limit
    assert all(limiter.allow(now + number * interval) for number in range(5 * limit))


@pytest.mark.rule("P8")
@given(limit=_LIMIT, intervals=st.lists(st.floats(0, 30), min_size=1, max_size=100))
def test_no_more_are_allowed_than_came_at_once_and_were_forgiven(
    limit: int, intervals: list[float]
) -> None:
    limiter = MalformedLimiter(limit=limit, seconds=10)
    now, allowed = 0.0, 0
    for interval in intervals:
        now += interval
        for _ in range(limit // 3 + 1):
            allowed += limiter.allow(now)
    assert allowed <= limit + now * limit / 10 + 1e-6


@pytest.mark.rule("P8")
@given(limit=_LIMIT)
def test_all_is_forgiven_in_time(limit: int) -> None:
    limiter = MalformedLimiter(limit=limit, seconds=10)
    for start in (0.0, 10.5, 21.0):
        assert all(limiter.allow(start) for _ in range(limit))
