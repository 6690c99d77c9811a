"""Calls with payloads as large as a room takes them."""

from __future__ import annotations

import random
import string
from typing import Final

import pytest

from trio_rpc import Room, RpcInvocationData
from trio_rpc.protocol.stream_content import DEFAULT_MAX_STREAM_BYTES

from ..conftest import Join

pytestmark = [pytest.mark.anyio, pytest.mark.rule("S7", "B4")]

_LETTERS: Final = string.ascii_letters + string.digits


def _payloads() -> list[str]:
    some = "".join(random.Random(1).choices(_LETTERS, k=DEFAULT_MAX_STREAM_BYTES // 16))
    return [
        "\0" * DEFAULT_MAX_STREAM_BYTES,
        some * 16,
        "語" * (DEFAULT_MAX_STREAM_BYTES // 3),
    ]


@pytest.mark.real_time  # Threads deflate them.
async def test_what_is_as_large_as_a_stream_may_be_goes_both_ways(join: Join) -> None:
    async def echo(data: RpcInvocationData) -> str:
        return data.payload

    large = DEFAULT_MAX_STREAM_BYTES
    ours, theirs = (Room(max_payload_bytes=large, max_round_trip_latency=1800) for _ in range(2))
    async with join("alice", room=ours) as alice, join("bob", room=theirs) as bob:
        bob.register_rpc_method("echo", echo)
        participant = await alice.wait_for_participant("bob")
        for payload in _payloads():
            assert await participant.perform_rpc("echo", payload, response_timeout=3600) == payload
            # What is held is the memory of answered requests (B1).
            assert alice.statistics().held_bytes + bob.statistics().held_bytes < 10_000
