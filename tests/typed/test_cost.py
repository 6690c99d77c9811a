"""The cost of typed calls, counted rather than timed: on a busy machine it is the same."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

import pytest

from trio_rpc import RpcInvocationData

from .conftest import Pair
from .kitchen import Kitchen, Order

pytestmark = pytest.mark.anyio

CALLS = 20


async def count_function_calls(call: Callable[[], Awaitable[object]]) -> int:
    """Return the functions that are called for some calls, of Python and of C."""
    await call()
    count = 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(profile)
    try:
        for _ in range(CALLS):
            await call()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.rule("T14")
async def test_typed_calls_cost_little_more_than_calls_of_strings(pair: Pair) -> None:
    payload = '{"order": {"vegetable": "carrot", "length_mm": 150, "thickness_mm": 3}}'

    async def answer(data: RpcInvocationData) -> str:
        return "[50]"

    pair.bob.register_rpc_method("text", answer)
    us = pair.alice.local_participant
    strings = await count_function_calls(
        lambda: us.perform_rpc(destination_identity="bob", method="text", payload=payload)
    )
    typed = await count_function_calls(
        lambda: pair.alice.call(Kitchen.slice, "bob", Order("carrot", 150))
    )
    # 0.85 of the calls a second are 1.18 of the cost of each.
    assert strings < typed < 1.18 * strings
