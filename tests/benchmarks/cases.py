"""The loads that are measured, their payloads, and the targets."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Final

from attrs import frozen


@frozen(order=True)
class Load:
    """Calls of one size, with a constant number in flight.

    Attributes:
        payload_bytes: The size of each request, and of each response.
        in_flight: How many tasks call, each one call after another.
    """

    payload_bytes: int
    in_flight: int

    def __str__(self) -> str:
        return f"{size(self.payload_bytes)}, {self.in_flight:,} in flight"


def size(count: int) -> str:
    """Format `count` bytes for a person."""
    if count < 1_000:
        return f"{count} B"
    return f"{count // 1_000} KB" if count < 1_000_000 else f"{count // 1_000_000} MB"


#: The loads of the targets: every contestant is measured with them.
TARGET_LOADS: Final = (Load(100, 1), Load(100, 100), Load(10_000, 100))
#: What a few contestants of ours are measured with besides.
MORE_LOADS: Final = (Load(100, 10), Load(100, 1_000), Load(10_000, 1), Load(1_000_000, 1))
#: What `--full` measures every contestant with.
ALL_LOADS: Final = tuple(
    Load(payload_bytes, in_flight)
    for payload_bytes in (100, 10_000, 1_000_000)
    for in_flight in (1, 10, 100, 1_000)
    # More than 10 MB in flight would measure the allocation of memory.
    if payload_bytes * in_flight <= 10_000_000
)


@frozen
class Target:
    """The calls per second that ours should make, as a multiple of another's, by target load."""

    ours: str
    other: str
    ratios: tuple[float, float, float]


TARGETS: Final = (
    Target("websocket-trio", "livekit", (5, 25, 25)),
    Target("websocket-trio", "socketio", (1.2, 4, 2.5)),
    Target("websocket-trio", "wamp", (1.2, 3, 1.8)),
    Target("websocket-trio", "grpc", (1.8, 6.5, 3.5)),
    Target("tcp-trio", "redis", (0.9, 2.2, 2)),
    Target("tcp-trio", "nats", (0.75, 0.7, 0.75)),
)


#: Before a payload repeats itself: more than the 32 KB that deflate looks back.
_RECORDS: Final = 1_000


@cache
def payload(payload_bytes: int) -> str:
    """Return ASCII text of that size: records in JSON, which deflate reduces to about a third.

    It is the same in every run. Text of one letter, or without any pattern, would measure the best
    or the worst that a contestant which compresses can make of it.
    """
    numbers = random.Random(0)
    records = []
    for _ in range(_RECORDS):
        record = {
            "id": numbers.randrange(10**6),
            "name": "".join(numbers.choices("abcdefghijklmnopqrstuvwxyz", k=8)),
            "position": [round(numbers.uniform(-180, 180), 4) for _ in range(2)],
            "active": numbers.random() < 0.5,
        }
        records.append(json.dumps(record) + "\n")
    block = "".join(records)
    return (block * (payload_bytes // len(block) + 1))[:payload_bytes]
