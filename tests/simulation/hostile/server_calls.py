"""Calls of the server's own, to honest participants and to adversaries."""

from __future__ import annotations

from random import Random
from typing import Final

import anyio

from trio_rpc import RpcError

from ..causes import EPSILON
from ..hostile_causes import signature
from ..scenario import Profile
from ..world import World
from . import forging

#: Seconds from one call to the next.
_INTERVAL: Final = 0.5
_TIMEOUT: Final = 3.0
_PREFIX: Final = "the server's call "


def is_of_the_server(payload: str) -> bool:
    """Whether a payload is that of a call of the server's."""
    return payload.startswith(_PREFIX)


def answer(payload: str) -> str:
    """Return what an honest participant answers to a call of the server's."""
    return f"the answer to {payload}"


async def play_server_calls(world: World, room: str, profiles: list[Profile], seed: int) -> None:
    """Call participants now and then, until cancelled."""
    random, number = Random(f"server {seed}"), 0
    async with anyio.create_task_group() as nursery:
        while True:
            await anyio.sleep(_INTERVAL)
            number += 1
            nursery.start_soon(_call, world, room, random.choice(profiles), f"{_PREFIX}{number}")


async def _call(world: World, room: str, callee: Profile, payload: str) -> None:
    started = anyio.current_time()
    outcome: str | RpcError
    try:
        outcome = await world.server.perform_rpc(
            room, callee.identity, forging.METHOD, payload, _TIMEOUT
        )
    except LookupError:
        return
    except RpcError as error:
        outcome = error
    fail = world.checker.fail
    if anyio.current_time() > started + _TIMEOUT + EPSILON:
        fail(f"{payload} to {callee.identity} ended after its deadline")
    if isinstance(outcome, RpcError):
        return
    expected = signature(callee.identity) if callee.is_hostile else answer(payload)
    if expected not in outcome:
        fail(f"{payload} to {callee.identity} ended with {outcome[:100]!r}")
    if len(outcome) > world.server.limits.max_message_bytes:
        fail(f"{payload} to {callee.identity} ended with {len(outcome):,} characters")
