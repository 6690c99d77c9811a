"""`AudioStream`: the frames of another's track, of which the oldest are dropped."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.to_thread
import pytest
from livekit.protocol import models

from trio_rpc import AudioFrame, AudioSource, AudioStream, LocalAudioTrack, RemoteAudioTrack

pytestmark = pytest.mark.anyio

INFO = models.TrackInfo(sid="TR_1", name="voice", type=models.AUDIO)


def frame(number: int) -> AudioFrame:
    return AudioFrame(bytes([number, 0]), 48_000, 1, 1)


def number_of(frame: AudioFrame) -> int:
    return int(frame.data[0])


async def read(stream: AudioStream) -> list[int]:
    """Return the numbers of the frames that wait, of a stream that has ended."""
    return [number_of(event.frame) async for event in stream]


async def test_frames_are_read_in_order_and_the_stream_ends_with_the_track() -> None:
    track = RemoteAudioTrack(INFO)
    async with AudioStream(track) as stream:
        for number in range(3):
            stream.put(frame(number))
        track._end()
        assert await read(stream) == [0, 1, 2]
        assert await read(stream) == []


@pytest.mark.rule("M10")
async def test_the_oldest_are_dropped_for_a_slow_reader() -> None:
    track = RemoteAudioTrack(INFO)
    async with AudioStream(track, capacity=2) as stream:
        for number in range(5):
            stream.put(frame(number))
        track._end()
        assert await read(stream) == [3, 4]


async def test_there_is_a_limit_unless_set_otherwise() -> None:
    track = RemoteAudioTrack(INFO)
    async with AudioStream(track) as stream:
        for number in range(120):
            stream.put(frame(number))
        track._end()
        assert await read(stream) == [*range(20, 120)]


@pytest.mark.real_time
async def test_a_reader_is_woken_from_another_thread() -> None:
    async with AudioStream(RemoteAudioTrack(INFO)) as stream:
        got: list[int] = []

        async def read_two() -> None:
            got.append(number_of((await anext(stream)).frame))
            got.append(number_of((await anext(stream)).frame))

        async with anyio.create_task_group() as task_group:
            task_group.start_soon(read_two)
            await anyio.wait_all_tasks_blocked()
            await anyio.to_thread.run_sync(stream.put, frame(1))
            await anyio.to_thread.run_sync(stream.put, frame(2))
        assert got == [1, 2]


async def test_closing_wakes_a_reader() -> None:
    track = RemoteAudioTrack(INFO)
    stream = AudioStream(track)

    async def wait() -> None:
        assert await read(stream) == []

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await stream.aclose()
    # Closing twice is not an error.
    await stream.aclose()


async def test_a_cancelled_reader_loses_nothing() -> None:
    async with AudioStream(RemoteAudioTrack(INFO)) as stream:
        with anyio.move_on_after(1) as scope:
            await anext(stream)
        assert scope.cancelled_caught
        stream.put(frame(7))
        assert number_of((await anext(stream)).frame) == 7


@pytest.mark.parametrize(
    "options", [{"num_channels": 3}, {"sample_rate": 0}, {"frame_size_ms": 0}, {"capacity": -1}]
)
async def test_a_stream_has_limits(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"3|0|-1"):
        AudioStream(RemoteAudioTrack(INFO), **options)


async def test_a_stream_is_of_anothers_audio() -> None:
    track: Any = LocalAudioTrack.create_audio_track("voice", AudioSource(48_000, 1))
    with pytest.raises(TypeError, match="RemoteAudioTrack"):
        AudioStream(track)
