"""Two participants who must not notice what others do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from trio_rpc import Room

from ..conftest import Join


@asynccontextmanager
async def two_callers(join: Join, url: str) -> AsyncIterator[None]:
    """Alice and bob over links of their own; when the block ends, they still call each other."""
    bob = Room()
    bob.register_rpc_method("echo", lambda data: data.payload)
    async with join("alice", to=url) as alice, join("bob", to=url, room=bob):
        yield
        answer = await alice.local_participant.perform_rpc(
            destination_identity="bob", method="echo", payload="hi"
        )
        assert answer == "hi"
