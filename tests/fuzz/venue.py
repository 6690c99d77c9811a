"""A server with two honest participants in one of its rooms."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from attrs import define

from trio_rpc import Room
from trio_rpc.server import RoomServer, ServerLimits

from ..support.tokens import API_KEYS
from ..support.waiting import wait_until
from .honest import check_at_rest, check_calls, honest_room, token

#: Little, so that an input reaches it.
LIMITS: Final = ServerLimits(max_queue_bytes=512 * 1024, max_malformed=50, max_message_bytes=65_536)


@define(eq=False)
class Venue:
    """A server, and alice and bob, who answer each other whatever others do."""

    server: RoomServer
    alice: Room
    bob: Room

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Venue]:
        """Open one for as long as the block runs."""
        server = RoomServer(API_KEYS, LIMITS)
        alice, bob = honest_room(), honest_room()
        # A listener of the server that ends within the block disconnects everybody.
        async with (
            alice.connect(server, token("alice"), on_disconnect="continue"),
            bob.connect(server, token("bob"), on_disconnect="continue"),
        ):
            yield cls(server, alice, bob)

    async def check(self) -> None:
        """Check that the honest ones are alone again, and well."""
        # The departure of a hidden participant is not announced.
        await wait_until(lambda: self.server.statistics().participants == 2)
        await check_at_rest(self.alice, self.bob)
        await check_calls(self.alice, self.bob)
