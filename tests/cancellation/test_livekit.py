"""A room on one of LiveKit's servers, cancelled at each step of joining, calling and leaving."""

from __future__ import annotations

import anyio
import pytest

from trio_rpc import Room
from trio_rpc.links.webrtc.shared_thread import _shared

from ..links.webrtc.livekit_server import info, scripted_livekit
from ..support.proxy import open_proxy
from ..support.waiting import wait_until
from .injection import Moment, Whose, cancel_at_each_step, every_moment

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda **_: ["127.0.0.1"])


@every_moment
async def test_a_room_can_be_cancelled_at_each_step(moment: Moment, whose: Whose) -> None:
    async with scripted_livekit() as (server, url):
        server.ping_timeout = 3_000
        bob = info("bob", "PA_bob")
        bob.client_protocol = 0
        server.others.append(bob)
        done: list[str] = []

        async def subject() -> None:
            async with Room().connect(url, "a.b.c") as room:
                done.append(
                    await room.local_participant.perform_rpc(
                        destination_identity="bob", method="echo", payload="hi"
                    )
                )

        async def check() -> None:
            assert [each.users for each in _shared.values()] == [1]

        # One link that stays: the thread would be started again and again.
        async with Room().connect(url, "a.b.c"):
            await cancel_at_each_step(subject, check, moment=moment, whose=whose, limit=60)
        assert not _shared
        assert set(done) <= {"hi"}


@pytest.mark.rule("L12")
@every_moment
async def test_a_room_can_be_cancelled_while_its_signalling_is_opened_again(
    moment: Moment, whose: Whose
) -> None:
    async with scripted_livekit() as (server, url), open_proxy(url) as proxy:
        server.ping_timeout = 3_000

        async def subject() -> None:
            requests = len(server.requests)
            async with Room().connect(proxy.url, "a.b.c"):
                proxy.cut()
                await wait_until(lambda: len(server.requests) >= requests + 2)

        async def check() -> None:
            await anyio.lowlevel.checkpoint()

        async with Room().connect(url, "a.b.c"):
            await cancel_at_each_step(subject, check, moment=moment, whose=whose, limit=60)
        assert not _shared
