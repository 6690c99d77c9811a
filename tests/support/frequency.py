"""The frequency of what was heard; for programs that have nothing of ours, too."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median


def frequency(samples: Sequence[int], rate: int) -> float:
    """Return how often samples rise through 0 in a second; 0 if they don't.

    It is the median of all distances between two rises that counts, for on a busy machine audio
    has gaps.
    """
    rises = [
        place - after / (after - before)
        for place, (before, after) in enumerate(pairwise(samples))
        if before < 0 <= after
    ]
    return rate / median(b - a for a, b in pairwise(rises)) if len(rises) > 1 else 0.0
