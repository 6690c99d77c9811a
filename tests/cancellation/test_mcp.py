"""The bridges to MCP that are cancelled at each step: handlers end, and nothing is left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

import anyio
import pytest
from mcp import Client

from trio_rpc import CallContext, Room
from trio_rpc.typed.mcp import mount, server_of

from ..conftest import Join
from .injection import Moment, Whose, cancel_at_each_step, every_moment
from .rooms import at_rest, call, echo

pytestmark = pytest.mark.anyio


class Service:
    """A kitchen that knows how many of its methods run."""

    def __init__(self) -> None:
        self.running = 0

    async def bake(self, minutes: int, context: CallContext) -> str:
        self.running += 1
        try:
            for minute in range(minutes):
                await context.progress(minute / minutes)
                await anyio.lowlevel.checkpoint()
        finally:
            self.running -= 1
        return "bread"


Subject = Callable[[Client, Room, Room], Awaitable[object]]


async def on_progress(progress: float, total: float | None, message: str | None) -> None:
    pass


async def use_tool(client: Client, alice: Room, bob: Room) -> None:
    assert (await client.list_tools()).tools
    await client.call_tool("bake", {"minutes": 2}, progress_callback=on_progress)


async def call_mounted(client: Client, alice: Room, bob: Room) -> None:
    async with mount(alice, client, prefix="tools."):
        await bob.call_json("alice", "tools.bake", {"minutes": 2}, on_progress=lambda *_: None)


@every_moment
@pytest.mark.rule("T11")
@pytest.mark.parametrize("subject", [use_tool, call_mounted])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_bridge_that_is_cancelled_leaves_nothing(
    join: Join, subject: Subject, mode: Literal["auto", "legacy"], moment: Moment, whose: Whose
) -> None:
    service = Service()
    async with join("bob") as bob, join("alice") as alice:
        await bob.wait_for_participant("alice")
        bob.register_rpc_method("echo", echo)
        bob.serve(service)
        async with Client(server_of(alice, "bob", allow=["bake"]), mode=mode) as client:

            async def check() -> None:
                assert await call(alice) == "hi"
                await anyio.wait_all_tasks_blocked()
                await at_rest(alice, bob)
                assert service.running == 0
                assert [*alice.rpc_methods] == ["rpc.discover"]
                result = await client.call_tool("bake", {"minutes": 0})
                assert result.structured_content == {"result": "bread"}

            steps = await cancel_at_each_step(
                lambda: subject(client, alice, bob), check, moment=moment, whose=whose
            )
            assert steps >= 2
