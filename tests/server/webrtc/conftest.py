"""A network without any other address than that of loopback, for the clients too."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from trio_rpc.server import RoomServer

from ...support.scripted_client import ScriptedClient, scripted_client


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have aiortc offer the address of the loopback interface, which it leaves out by itself."""
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda **_: ["127.0.0.1"])


@pytest.fixture
async def raw(server: RoomServer, anyio_backend: object) -> AsyncIterator[ScriptedClient]:
    """A participant of ours, which is there first."""
    async with scripted_client(server, "raw") as member:
        yield member
