"""Draining a server, cancelled at each step: it can be drained again, and everybody is gone."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from trio_rpc.server import RoomServer

from ..support.messages import leave_reasons, request, user
from ..support.scripted_client import ScriptedClient, scripted_client
from ..support.tokens import API_KEYS
from .injection import Moment, Whose, cancel_at_each_step, every_moment

pytestmark = pytest.mark.anyio


@every_moment
@pytest.mark.rule("L10")
async def test_draining_can_be_cancelled_at_each_step(moment: Moment, whose: Whose) -> None:
    async with AsyncExitStack() as stack:
        server = RoomServer(API_KEYS)
        clients: list[ScriptedClient] = []

        async def open_rooms() -> None:
            nonlocal server
            await stack.aclose()
            server = RoomServer(API_KEYS)
            clients[:] = [
                await stack.enter_async_context(scripted_client(server, each))
                for each in ("alice", "bob")
            ]
            alice, bob = clients
            alice.send(user("x" * 50_000, "bob"))
            # bob does not answer: the drain waits for half of its time.
            alice.send(request("bob"))
            await alice.settle()
            await bob.settle()

        async def check() -> None:
            await server.drain(0.1)
            assert server.statistics().participants == 0
            for client in clients:
                messages, _ = await client.receive_rest()
                assert leave_reasons(messages) == ["SERVER_SHUTDOWN"]
            await open_rooms()

        async def subject() -> None:
            await server.drain(0.1)

        await open_rooms()
        hits = await cancel_at_each_step(subject, check, moment=moment, whose=whose)
        assert 2 <= hits < 150
