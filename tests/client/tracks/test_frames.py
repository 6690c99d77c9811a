"""`AudioFrame`, and the queue of samples that wait to be sent."""

from __future__ import annotations

import io
import wave

import pytest

from trio_rpc import AudioFrame
from trio_rpc.webrtc.media.audio_queue import AudioQueue


def frame(*samples: int) -> AudioFrame:
    data = b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples)
    return AudioFrame(data, 8_000, 1, len(samples))


def samples(data: bytes) -> list[int]:
    return memoryview(data).cast("h").tolist()


def test_a_frame_has_its_samples() -> None:
    silence = AudioFrame.create(8_000, 2, 80)
    silence.data[0] = -5
    assert silence.data[:3].tolist() == [-5, 0, 0]
    assert (silence.sample_rate, silence.num_channels, silence.samples_per_channel) == (8000, 2, 80)
    assert silence.duration == 0.01
    assert repr(silence) == "<AudioFrame 8000 Hz, 2 channels, 10 ms>"


def test_a_frame_is_a_wav_file() -> None:
    with wave.open(io.BytesIO(frame(1, -2).to_wav_bytes())) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        assert samples(file.readframes(9)) == [1, -2]


@pytest.mark.parametrize("size", [159, 161])
def test_a_frame_has_all_that_it_says(size: int) -> None:
    with pytest.raises(ValueError, match=f"{size} bytes"):
        AudioFrame(bytes(size), 8_000, 1, 80)


def test_a_queue_hands_out_samples_and_then_silence() -> None:
    queue = AudioQueue(8_000, 1, max_seconds=1)
    queue.put(frame(1, 2, 3))
    queue.put(frame(4))
    assert samples(queue.take(2)) == [1, 2]
    assert samples(queue.take(3)) == [3, 4, 0]
    assert samples(queue.take(1)) == [0]


def test_a_queue_copies_what_it_holds() -> None:
    queue = AudioQueue(8_000, 1, max_seconds=1)
    reused = AudioFrame.create(8_000, 1, 1)
    reused.data[0] = 1
    queue.put(reused)
    reused.data[0] = 2
    assert samples(queue.take(1)) == [1]


@pytest.mark.rule("M10")
def test_a_queue_drops_the_oldest() -> None:
    queue = AudioQueue(8_000, 1, max_seconds=2 / 8_000)
    for number in range(5):
        queue.put(frame(number))
    assert samples(queue.take(3)) == [3, 4, 0]
    queue.put(frame(1, 2, 3, 4))
    # A frame that is longer than the queue is taken as the only one.
    assert samples(queue.take(4)) == [1, 2, 3, 4]
    queue.put(frame(9))
    queue.clear()
    assert samples(queue.take(1)) == [0]
