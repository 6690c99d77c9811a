"""Two participants: "bob" serves a kitchen, "alice" calls it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from attrs import frozen

from trio_rpc import Room

from ..conftest import Join
from .kitchen import Kitchen, KitchenService, OutOfStock


@frozen
class Pair:
    """The rooms of both; the service of bob; and alice's client for it."""

    alice: Room
    bob: Room
    service: KitchenService
    kitchen: Kitchen


@pytest.fixture
async def pair(join: Join, anyio_backend: object) -> AsyncIterator[Pair]:
    service = KitchenService()
    async with join("bob") as bob, join("alice") as alice:
        bob.serve(service)
        for room in alice, bob:
            room.errors.register(OutOfStock, code=9001)
        yield Pair(alice, bob, service, alice.client(Kitchen, "bob"))
