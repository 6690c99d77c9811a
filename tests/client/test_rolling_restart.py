"""A server is drained while another one takes over: no call is lost or run twice (rule L10)."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from livekit.protocol import rtc

from trio_rpc import Room, RpcInvocationData
from trio_rpc.events import Reconnected
from trio_rpc.links import Link
from trio_rpc.server import RoomServer

from ..support.tokens import API_KEYS, make_token

pytestmark = pytest.mark.anyio


class Balancer:
    """A way to whichever server is in use at the time."""

    def __init__(self, server: RoomServer) -> None:
        self.server = server

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncIterator[Link]:
        async with self.server.open_link(token, request) as link:
            yield link


async def call_often(caller: Room, callee: str, calls: int, outcomes: Counter[str]) -> None:
    """Make a number of calls, 50 a second, and count their outcomes."""

    async def call(number: int) -> None:
        payload = f"{callee} {number}"
        outcome = await caller.local_participant.perform_rpc(
            destination_identity=callee, method="work", payload=payload
        )
        outcomes[outcome] += 1

    await caller.wait_for_participant(callee)
    async with anyio.create_task_group() as task_group:
        for number in range(calls):
            task_group.start_soon(call, number)
            await anyio.sleep(0.02)


@pytest.mark.rule("L10", "L7", "L9")
@pytest.mark.parametrize("seconds", [0.005, 0.5, 3], ids=["brief", "half a second", "long"])
@pytest.mark.parametrize("outage", [0, 1], ids=["another server", "restarted server"])
async def test_no_call_is_lost_or_run_twice(seconds: float, outage: float) -> None:
    runs: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    balancer = Balancer(RoomServer(API_KEYS))

    async def work(data: RpcInvocationData) -> str:
        runs[data.payload] += 1
        await anyio.sleep(seconds)
        return data.payload

    async def replace_server() -> None:
        await anyio.sleep(1)
        old, new = balancer.server, RoomServer(API_KEYS)
        if not outage:
            balancer.server = new
        await old.drain()
        await anyio.sleep(outage)
        balancer.server = new

    alice, bob = Room(), Room()
    for room in (alice, bob):
        room.register_rpc_method("work", work)
    async with (
        alice.connect(balancer, make_token("alice")),
        bob.connect(balancer, make_token("bob")),
        alice.events(Reconnected) as events,
    ):
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(replace_server)
            task_group.start_soon(call_often, alice, "bob", 200, outcomes)
            task_group.start_soon(call_often, bob, "alice", 200, outcomes)
        expected = Counter(f"{callee} {n}" for callee in ("alice", "bob") for n in range(200))
        assert outcomes == expected
        assert runs == expected
        assert await anext(events) == Reconnected(resumed=False)
