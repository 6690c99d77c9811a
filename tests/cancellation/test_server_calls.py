"""Calls of the server's own that are cancelled at each step, asked for here or over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from trio_rpc.server import RoomServer

from ..conftest import Join
from ..server.twirp.client import answer_to
from ..support.tokens import ROOM
from .injection import Moment, Whose, cancel_at_each_step, every_moment
from .rooms import at_rest, two_rooms

pytestmark = pytest.mark.anyio


async def call_here(server: RoomServer) -> str:
    return await server.perform_rpc(ROOM, "bob", "echo", "hi")


async def call_over_http(server: RoomServer) -> str:
    request = {"destination_identity": "bob", "method": "echo", "payload": "hi"}
    answer = await answer_to(server, "PerformRpc", **request)
    return str(answer["payload"])


@every_moment
@pytest.mark.rule("R5", "C13")
@pytest.mark.parametrize("call", [call_here, call_over_http])
async def test_a_call_of_the_servers_can_be_cancelled_at_each_step(
    join: Join,
    server: RoomServer,
    call: Callable[[RoomServer], Awaitable[str]],
    moment: Moment,
    whose: Whose,
) -> None:
    async with two_rooms(join) as (alice, bob):

        async def check() -> None:
            [room] = server._rooms
            assert not room.callers
            assert await call_here(server) == "hi"
            await at_rest(alice, bob)

        async def subject() -> None:
            assert await call(server) == "hi"

        hits = await cancel_at_each_step(subject, check, moment=moment, whose=whose)
        assert 2 <= hits < 150
