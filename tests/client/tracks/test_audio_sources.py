"""`AudioSource`: a program fills it, no faster than the clock plays it."""

from __future__ import annotations

import anyio
import pytest
from attrs import define, field

from trio_rpc import AudioFrame, AudioSource

pytestmark = pytest.mark.anyio

RATE = 8_000


def silence(milliseconds: int = 10, *, rate: int = RATE, channels: int = 1) -> AudioFrame:
    return AudioFrame.create(rate, channels, rate * milliseconds // 1000)


@define(eq=False)
class Sink:
    """A taker of frames, as a track has one."""

    frames: list[AudioFrame] = field(factory=list)
    cleared: int = 0

    def put(self, frame: AudioFrame) -> None:
        self.frames.append(frame)

    def clear(self) -> None:
        self.cleared += 1


async def test_capturing_waits_once_the_queue_is_full() -> None:
    source = AudioSource(RATE, 1, queue_size_ms=100)
    start = anyio.current_time()
    for _ in range(10):
        await source.capture_frame(silence(10))
    assert anyio.current_time() == start
    assert source.queued_duration == pytest.approx(0.1)
    for _ in range(10):
        await source.capture_frame(silence(10))
    assert anyio.current_time() - start == pytest.approx(0.1)
    assert source.queued_duration == pytest.approx(0.1)


async def test_a_frame_longer_than_the_queue_waits_for_those_before_it_alone() -> None:
    source = AudioSource(RATE, 1, queue_size_ms=100)
    start = anyio.current_time()
    await source.capture_frame(silence(500))
    assert anyio.current_time() == start
    await source.capture_frame(silence(500))
    assert anyio.current_time() - start == pytest.approx(0.5)


async def test_a_cancelled_capture_queues_nothing() -> None:
    source, sink = AudioSource(RATE, 1, queue_size_ms=100), Sink()
    source.attach(sink)
    await source.capture_frame(silence(100))
    with anyio.move_on_after(0.05) as scope:
        await source.capture_frame(silence(100))
    assert scope.cancelled_caught
    assert len(sink.frames) == 1
    assert source.queued_duration == pytest.approx(0.05)


async def test_playout_takes_as_long_as_the_frames_last() -> None:
    source = AudioSource(RATE, 1)
    await source.wait_for_playout()
    start = anyio.current_time()
    await source.capture_frame(silence(300))
    await source.wait_for_playout()
    assert anyio.current_time() - start == pytest.approx(0.3)
    assert source.queued_duration == 0


async def test_clearing_ends_the_playout() -> None:
    source, sink = AudioSource(RATE, 1), Sink()
    source.attach(sink)
    await source.capture_frame(silence(1000))
    source.clear_queue()
    assert source.queued_duration == 0
    assert sink.cleared == 1
    start = anyio.current_time()
    await source.capture_frame(silence(1000))
    assert anyio.current_time() == start


async def test_a_sink_gets_what_was_not_played_yet_and_all_that_comes() -> None:
    source, sink = AudioSource(RATE, 1), Sink()
    first, second, third = silence(100), silence(100), silence(100)
    await source.capture_frame(first)
    await source.capture_frame(second)
    await anyio.sleep(0.15)
    source.attach(sink)
    await source.capture_frame(third)
    assert sink.frames == [second, third]
    source.detach(sink)
    await source.capture_frame(silence())
    assert sink.frames == [second, third]


async def test_a_closed_source_takes_nothing() -> None:
    source = AudioSource(RATE, 1)
    await source.capture_frame(silence())
    await source.aclose()
    assert source.queued_duration == 0
    with pytest.raises(RuntimeError, match="closed"):
        await source.capture_frame(silence())


@pytest.mark.parametrize("frame", [silence(rate=16_000), silence(channels=2)])
async def test_a_frame_fits_its_source(frame: AudioFrame) -> None:
    with pytest.raises(ValueError, match="does not fit a source of 8000 Hz and 1 channels"):
        await AudioSource(RATE, 1).capture_frame(frame)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((7_999, 1), "7999 samples"),
        ((96_000, 1), "96000"),
        ((RATE, 3), "3"),
        ((RATE, 1, 0), "0 ms"),
    ],
)
async def test_a_source_has_limits(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AudioSource(*arguments)
