"""A session that has lost its connection thousands of times holds no more than at first."""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
import pytest

from trio_rpc import Room, RpcInvocationData, StreamError, TextStreamReader
from trio_rpc.protocol import sequences
from trio_rpc.server import RoomServer
from trio_rpc.testing import FaultyNetwork

from ..support.tokens import make_token

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]

#: Before anything is measured: longer than answered requests are remembered.
_WARM_UP: Final = 1_000
_PAUSE: Final = 0.2
#: Blocks of memory that a loss may leave behind on the average: less than any of its own.
_MAX_BLOCKS: Final = 0.1


class LongSession:
    """Alice, whose connection is lost again and again, and bob; they call each other meanwhile."""

    def __init__(self, alice: Room, bob: Room, network: FaultyNetwork) -> None:
        self.alice, self.bob, self.network = alice, bob, network
        self.reconnected = anyio.Event()
        self.stories: list[str] = []
        alice.on("reconnected", self._on_reconnected)
        alice.register_rpc_method("think", self._think)
        bob.register_rpc_method("think", self._think)
        bob.register_text_stream_handler("story", self._read)

    def _on_reconnected(self, _resumed: bool) -> None:
        self.reconnected.set()

    async def _think(self, data: RpcInvocationData) -> str:
        await anyio.sleep(_PAUSE)
        return data.payload

    async def _read(self, reader: TextStreamReader, _sender: str) -> None:
        try:
            self.stories.append(await reader.read_all())
        except StreamError:
            self.stories.append("broke off")

    async def _call(self, caller: Room, callee: str) -> None:
        us = caller.local_participant
        assert await us.perform_rpc(destination_identity=callee, method="think", payload=callee)

    async def _tell(self) -> None:
        try:
            async with self.alice.local_participant.stream_text(topic="story") as writer:
                for word in ("once ", "upon ", "a ", "time"):
                    await writer.write(word)
                    await anyio.sleep(_PAUSE / 4)
        except StreamError:
            pass

    async def lose(self, number: int, scenario: str) -> None:
        """Lose the connection; now and then while calls are pending, and a stream is open."""
        async with anyio.create_task_group() as tasks:
            if number % 5 == 0:
                tasks.start_soon(self._call, self.alice, "bob")
                tasks.start_soon(self._call, self.bob, "alice")
                tasks.start_soon(self._tell)
            await anyio.sleep(_PAUSE / 2)
            self.reconnected = anyio.Event()
            if scenario == "cut":
                self.network.cut("alice")
            else:
                await self.alice.simulate_scenario("full-reconnect")
            await self.reconnected.wait()


@asynccontextmanager
async def long_session(server: RoomServer) -> AsyncIterator[LongSession]:
    alice, bob, network = Room(), Room(), FaultyNetwork(server)
    async with (
        bob.connect(server, make_token("bob")),
        alice.connect(network, make_token("alice")),
    ):
        await alice.wait_for_participant("bob")
        await bob.wait_for_participant("alice")
        yield LongSession(alice, bob, network)


@pytest.mark.rule("L4", "L7")
@pytest.mark.parametrize(("scenario", "losses"), [("cut", 10_000), ("full-reconnect", 2_000)])
async def test_thousands_of_lost_connections_leave_nothing_behind(
    server: RoomServer, scenario: str, losses: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each session of a publisher is one more, up to this number.
    monkeypatch.setattr(sequences, "_MAX_PUBLISHERS", 100)
    async with long_session(server) as session:
        blocks = 0
        for number in range(_WARM_UP + losses):
            await session.lose(number, scenario)
            if number in (_WARM_UP - 1, _WARM_UP + losses - 1):
                assert "once upon a time" in session.stories or scenario != "cut"
                session.stories.clear()
                gc.collect()
                # All of Python's own, which bytes and numbers take too.
                blocks = sys.getallocatedblocks() - blocks
    assert blocks <= _MAX_BLOCKS * losses
