"""Rooms survive a network that breaks and a server that restarts, over real sockets (L1 to L9)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import anyio
import pytest

from trio_rpc import ReconnectPolicy, Room, RpcInvocationData
from trio_rpc.server import RoomServer, ServerLimits

from ..support.proxy import Proxy, open_proxy
from ..support.serving import serving, serving_stream
from ..support.tokens import API_KEYS, make_token
from ..support.waiting import wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

Serve = Callable[[RoomServer], AbstractAsyncContextManager[str]]
#: Enough for a machine that is busy.
POLICY = ReconnectPolicy(cap=0.2)


@pytest.fixture(params=["WebSocket", "TCP"])
def serve(request: pytest.FixtureRequest) -> Serve:
    return serving if request.param == "WebSocket" else serving_stream


class Pair:
    """Two participants, of whom "alice" goes through a proxy; both count the calls of each id."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.rooms = {"alice": Room(), "bob": Room()}
        self.runs: dict[str, int] = {}
        for room in self.rooms.values():
            room.register_rpc_method("count", self._count)

    async def _count(self, data: RpcInvocationData) -> str:
        self.runs[data.payload] = self.runs.get(data.payload, 0) + 1
        await anyio.sleep(0.01)
        return data.payload

    @asynccontextmanager
    async def joined(self, url: str) -> AsyncIterator[None]:
        """Join as both for the block.

        Args:
            url: The URL that bob connects to.
        """
        alice, bob = self.rooms.values()
        async with (
            bob.connect(url, make_token("bob"), reconnect=POLICY),
            alice.connect(self.proxy.url, make_token("alice"), reconnect=POLICY),
        ):
            await alice.wait_for_participant("bob")
            await bob.wait_for_participant("alice")
            yield

    async def call(self, caller: str, callee: str, number: int) -> None:
        """Call with a payload that no other call has."""
        payload = f"{caller} {number}"
        answer = await self.rooms[caller].local_participant.perform_rpc(
            destination_identity=callee, method="count", payload=payload, response_timeout=60
        )
        assert answer == payload

    async def call_both_ways(self, numbers: range) -> None:
        """Make all calls at the same time, in both directions."""
        async with anyio.create_task_group() as task_group:
            for number in numbers:
                task_group.start_soon(self.call, "alice", "bob", number)
                task_group.start_soon(self.call, "bob", "alice", number)


@asynccontextmanager
async def pair(serve: Serve) -> AsyncIterator[Pair]:
    async with serve(RoomServer(API_KEYS)) as url, open_proxy(url) as proxy:
        both = Pair(proxy)
        async with both.joined(url):
            yield both


async def test_no_call_is_lost_or_run_twice_when_connections_are_cut(serve: Serve) -> None:
    async with pair(serve) as both:
        for turn in range(5):
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(both.call_both_ways, range(turn * 20, turn * 20 + 20))
                await anyio.sleep(0.005)
                both.proxy.cut()
        assert both.proxy.connections > 1
        assert sorted(both.runs.values()) == [1] * 200


async def test_calls_wait_for_a_server_that_refuses_for_a_while(serve: Serve) -> None:
    async with pair(serve) as both, anyio.create_task_group() as task_group:
        both.proxy.refuse()
        both.proxy.cut()
        task_group.start_soon(both.call_both_ways, range(10))
        await wait_until(lambda: both.proxy.connections >= 4)
        both.proxy.refuse(False)
    assert sorted(both.runs.values()) == [1] * 20


async def test_a_network_that_stalls_is_no_loss(serve: Serve) -> None:
    async with pair(serve) as both, anyio.create_task_group() as task_group:
        both.proxy.stall()
        task_group.start_soon(both.call_both_ways, range(10))
        await anyio.sleep(0.05)
        both.proxy.cut()
        both.proxy.flow()
    assert sorted(both.runs.values()) == [1] * 20


@pytest.mark.rule("L7", "L8", "L9")
async def test_no_call_is_lost_or_run_twice_when_the_server_restarts(serve: Serve) -> None:
    async with AsyncExitStack() as stack:
        first, *others = [
            await stack.enter_async_context(serve(RoomServer(API_KEYS))) for _ in range(5)
        ]
        proxy = await stack.enter_async_context(open_proxy(first))
        both = Pair(proxy)
        async with both.joined(proxy.url):
            for turn, url in enumerate(others):
                async with anyio.create_task_group() as task_group:
                    task_group.start_soon(both.call_both_ways, range(turn * 20, turn * 20 + 20))
                    await anyio.sleep(0.003 * turn)
                    # Another server, on what is the same port for its participants
                    proxy.switch_to(url)
        assert sorted(both.runs.values()) == [1] * 160


@pytest.mark.rule("L2")
async def test_a_program_that_blocks_its_event_loop_does_not_take_that_for_silence(
    serve: Serve,
) -> None:
    limits = ServerLimits(ping_interval=1, ping_timeout=3)
    async with (
        serve(RoomServer(API_KEYS, limits)) as url,
        Room().connect(url, make_token("alice"), reconnect=POLICY) as room,
    ):
        lost: list[str] = []
        room.on("reconnecting", lambda: lost.append("reconnecting"))
        for _ in range(3):
            # Longer than the silence after which a room reconnects; the server shares the loop.
            time.sleep(1.2)  # noqa: ASYNC251
            await anyio.sleep(0.2)
        assert not lost
