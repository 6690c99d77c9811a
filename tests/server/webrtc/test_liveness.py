"""Clients of LiveKit's SDKs that say nothing, and such that are gone: rule V9."""

from __future__ import annotations

import pytest

from trio_rpc.server import RoomServer, ServerLimits

from ...support.messages import user
from ...support.raw_sockets import connect_websocket
from ...support.scripted_client import scripted_client
from ...support.tokens import API_KEYS, make_token
from .client import VERSIONS, webrtc_client

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

SILENT = "silent for 3 s"


@pytest.fixture
def server() -> RoomServer:
    return RoomServer(API_KEYS, ServerLimits(ping_timeout=3))


@pytest.mark.rule("V9")
@VERSIONS
async def test_a_client_that_never_pings_stays_for_as_long_as_its_transport_lives(
    server: RoomServer, url: str, version: int
) -> None:
    async with webrtc_client(url, "sdk", version=version) as client:
        await client.wait_response("update")
        async with connect_websocket(url, make_token("ours")) as ours:
            assert await ours.receive_close() == (1000, f"it was {SILENT}")
        async with scripted_client(server, "raw") as raw:
            raw.send(user("still there", "sdk"))
            await raw.settle()
            [(_, packet)] = await client.wait_packets()
            assert packet.user.payload == b"still there"


@pytest.mark.rule("V9")
@VERSIONS
async def test_a_client_whose_transport_is_gone_is_gone_whatever_it_says(
    server: RoomServer, url: str, version: int
) -> None:
    async with webrtc_client(url, "sdk", version=version) as client:
        await client.wait_response("update")
        await client.run(client.asyncio.lose_transports)
        assert await client.wait_closed() == (
            "CONNECTION_TIMEOUT",
            f"its peer connection was {SILENT}",
        )
        assert server.statistics().participants == 0
