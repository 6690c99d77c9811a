"""Typed calls with LiveKit's SDKs at the other end: what travels is JSON in calls of strings."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Protocol

import anyio
import attrs
import pytest

from trio_rpc import InvalidArguments, Room, RpcError

from .conftest import Cast
from .program import Failure, Peer

KINDS = ("python", "node", "browser")


@attrs.frozen
class Order:
    vegetable: str
    length_mm: int


class TheirMethods(Protocol):
    """The methods of all programs, as a contract describes them."""

    async def echo(self, order: Order) -> dict[str, Order]: ...
    async def fail(self) -> None: ...


async def cut(order: Order, times: int = 1) -> list[int]:
    return [order.length_mm] * times


async def watch(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def call_both_ways(room: Room, peer: Peer) -> None:
    order = Order("carrot", 150)
    assert await room.call(TheirMethods.echo, peer.identity, order) == {"order": order}
    outcome = await room.try_call(TheirMethods.fail, peer.identity)
    assert isinstance(outcome.error, RpcError)
    assert (outcome.error.code, outcome.error.data) == (4321, '{"left": 0}')

    async def call(method: str, payload: str) -> str | Failure:
        us = room.local_participant.identity
        return await anyio.to_thread.run_sync(peer.call, us, method, payload)

    payload = json.dumps({"order": attrs.asdict(order), "times": 2})
    assert await call("cut", payload) == "[150,150]"
    assert await call("watch", '{"count": 3}') == "[0,1,2]"
    refusal = await call("cut", '{"order": {"vegetable": "leek", "length_mm": "long"}}')
    assert isinstance(refusal, Failure)
    assert refusal.code == 7422
    error = InvalidArguments.of(RpcError(refusal.code, refusal.message, refusal.data))
    assert (error.method, error.path) == ("cut", "$.order.length_mm")
    discovered = await call("rpc.discover", "")
    assert isinstance(discovered, str)
    assert [each["name"] for each in json.loads(discovered)["methods"]] == ["cut", "watch"]


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("kind", KINDS)
def test_typed_calls_both_ways(cast: Cast, kind: str, backend: str) -> None:
    peer = cast.peer(kind, "with types")
    url, token = cast.admission(f"types on {backend} for {kind}")

    async def main() -> None:
        room = Room()
        room.method(cut)
        room.method(watch)
        async with room.connect(url, token):
            await room.wait_for_participant(peer.identity)
            us = room.local_participant.identity
            await anyio.to_thread.run_sync(lambda: peer.wait_for("sees", who=us))
            await call_both_ways(room, peer)

    anyio.run(main, backend=backend)
