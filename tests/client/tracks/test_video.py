"""`VideoFrame`, `VideoSource` and `VideoStream`."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field
from livekit.protocol import models

from trio_rpc import (
    RemoteAudioTrack,
    RemoteVideoTrack,
    VideoBufferType,
    VideoFrame,
    VideoRotation,
    VideoSource,
    VideoStream,
)

INFO = models.TrackInfo(sid="TR_1", name="film", type=models.VIDEO)


def picture(number: int = 0) -> VideoFrame:
    return VideoFrame(1, 1, VideoBufferType.RGB24, bytes([number] * 3))


@define(eq=False)
class Sink:
    """A taker of pictures, as a track has one."""

    frames: list[VideoFrame] = field(factory=list)

    def put(self, frame: VideoFrame) -> None:
        self.frames.append(frame)


@pytest.mark.parametrize(
    ("format_", "planes"),
    [
        (VideoBufferType.RGBA, [60]),
        (VideoBufferType.RGB24, [45]),
        (VideoBufferType.I420, [15, 6, 6]),
        (VideoBufferType.I420A, [15, 6, 6, 15]),
        (VideoBufferType.I422, [15, 10, 10]),
        (VideoBufferType.I444, [15, 15, 15]),
        (VideoBufferType.I010, [30, 12, 12]),
        (VideoBufferType.NV12, [15, 12]),
    ],
)
def test_a_frame_has_the_planes_of_its_format(format_: VideoBufferType, planes: list[int]) -> None:
    data = bytes(range(sum(planes)))
    frame = VideoFrame(3, 5, format_, data)
    found = [frame.get_plane(number) for number in range(len(planes))]
    assert [len(plane) for plane in found if plane is not None] == planes
    assert b"".join(plane for plane in found if plane is not None) == data
    assert frame.get_plane(len(planes)) is None
    with pytest.raises(ValueError, match=f"fewer than the {sum(planes)}"):
        VideoFrame(3, 5, format_, data[1:])


def test_a_frame_has_pixels() -> None:
    with pytest.raises(ValueError, match="no pixel"):
        VideoFrame(0, 5, VideoBufferType.RGBA, b"")


@pytest.mark.parametrize("size", [(4, 2), (5, 3)])
def test_a_frame_is_converted(size: tuple[int, int]) -> None:
    width, height = size
    upper = bytes([250, 10, 20, 255]) * width
    lower = bytes([250, 10, 20, 255]) * width * (height - 1)
    frame = VideoFrame(width, height, VideoBufferType.RGBA, upper + lower)
    converted = frame.convert(VideoBufferType.BGRA)
    assert bytes(converted.data[:4]) == bytes([20, 10, 250, 255])
    back = frame.convert(VideoBufferType.I420).convert(VideoBufferType.RGBA)
    assert all(abs(got - sent) < 5 for got, sent in zip(back.data, frame.data, strict=True))


def test_a_frame_is_turned_upside_down() -> None:
    frame = VideoFrame(1, 2, VideoBufferType.RGB24, bytes([1, 2, 3, 4, 5, 6]))
    assert bytes(frame.convert(VideoBufferType.RGB24, flip_y=True).data) == bytes(
        [4, 5, 6, 1, 2, 3]
    )


@pytest.mark.anyio
async def test_a_source_hands_on_the_last_picture_and_all_that_come() -> None:
    source, sink = VideoSource(1, 1), Sink()
    first, second, third = picture(1), picture(2), picture(3)
    source.capture_frame(first)
    source.capture_frame(second)
    source.attach(sink)
    source.capture_frame(third)
    assert sink.frames == [second, third]
    with pytest.raises(ValueError, match="rotate their pixels"):
        source.capture_frame(picture(), rotation=VideoRotation.VIDEO_ROTATION_90)
    source.detach(sink)
    source.capture_frame(first)
    assert sink.frames == [second, third]
    await source.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        source.capture_frame(first)


def test_a_source_has_pixels() -> None:
    with pytest.raises(ValueError, match="no pixel"):
        VideoSource(0, 1)


@pytest.mark.anyio
@pytest.mark.rule("M10")
async def test_few_pictures_wait_for_a_slow_reader() -> None:
    track = RemoteVideoTrack(INFO)
    async with VideoStream(track) as stream:
        for number in range(20):
            stream.put(picture(number), number)
        track._end()
        assert [event.timestamp_us async for event in stream] == [15, 16, 17, 18, 19]


@pytest.mark.anyio
async def test_a_stream_is_of_anothers_video() -> None:
    track: Any = RemoteAudioTrack(INFO)
    with pytest.raises(TypeError, match="RemoteVideoTrack"):
        VideoStream(track)
