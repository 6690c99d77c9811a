"""Three participants in a row, each of whom calls the next."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from trio_rpc import Room

from ..conftest import Join


@asynccontextmanager
async def chain(join: Join, bob: Room, carol: Room) -> AsyncIterator[Room]:
    """Join as alice, who sees bob, who sees carol; yields the room of alice."""
    async with join("alice") as alice, join("bob", room=bob), join("carol", room=carol):
        await alice.wait_for_participant("bob")
        await bob.wait_for_participant("carol")
        yield alice
