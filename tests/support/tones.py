"""Tones, and the frequency of what was heard."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise

from trio_rpc.participant import AudioFrame

RATE = 48_000


def tone(hertz: float, *, rate: int = RATE, channels: int = 1) -> Iterator[AudioFrame]:
    """Yield the frames of an endless tone, 10 ms each."""
    size = rate // 100
    start = 0
    while True:
        samples = array("h")
        for position in range(start, start + size):
            level = int(10_000 * math.sin(2 * math.pi * hertz * position / rate))
            samples.extend([level] * channels)
        yield AudioFrame(samples.tobytes(), rate, channels, size)
        start += size


def frequency(samples: Sequence[int], rate: int = RATE) -> float:
    """Return the number of times in a second that samples rise through 0."""
    rises = sum(before < 0 <= after for before, after in pairwise(samples))
    return rises * rate / len(samples)


def is_tone(samples: Sequence[int], hertz: float, rate: int = RATE) -> bool:
    """Whether samples are a tone, and loud."""
    return max(samples) > 3_000 and abs(frequency(samples, rate) - hertz) < hertz / 50
