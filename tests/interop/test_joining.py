"""The time that joining a livekit-server takes: ours, beside LiveKit's SDK."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Final

from .conftest import Cast, Programs

#: How often each joins, in turn.
ROUNDS: Final = 10
#: Those of ours, and what they are compared with.
KINDS: Final = ("trio", "asyncio", "python")


def test_joins_are_timed(
    livekit_cast: Cast, programs: Programs, report: Callable[[str], None]
) -> None:
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(ROUNDS + 1):
        for kind in KINDS:
            program = programs.get(kind)
            begun = time.monotonic()
            peer = livekit_cast.join(program, f"{kind} {number}")
            # The first one loads what the others have.
            if number:
                seconds[kind].append(time.monotonic() - begun)
            peer.leave()
    medians = [f"{kind} {1000 * statistics.median(seconds[kind]):.0f} ms" for kind in KINDS]
    report(f"Joining a livekit-server: {', '.join(medians)} (medians of {ROUNDS}).")
