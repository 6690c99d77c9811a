"""Subscriptions, and what a server says about them."""

from __future__ import annotations

import pytest
from livekit.protocol import models, rtc

from trio_rpc import Room, events

from ...support.scripted_server import ScriptedServer, participant_info

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("error", "name"),
    [(models.SE_CODEC_UNSUPPORTED, "SE_CODEC_UNSUPPORTED"), (77, "error 77")],
)
@pytest.mark.rule("M9")
async def test_a_failed_subscription_is_told(error: models.SubscriptionError, name: str) -> None:
    server = ScriptedServer(others=())
    track = models.TrackInfo(sid="TR_1", name="voice", type=models.AUDIO)
    server.join.other_participants.append(participant_info("bob", tracks=[track]))
    async with (
        Room().connect(server, "a token") as room,
        room.events(events.TrackSubscriptionFailed) as failures,
    ):
        for sid in ("TR_gone", "TR_1"):
            server.send_signal(
                subscription_response=rtc.SubscriptionResponse(track_sid=sid, err=error)
            )
        await server.settle(room)
        failure = await anext(aiter(failures))
        assert failure.participant is room.remote_participants["bob"]
        assert (failure.track_sid, failure.error) == ("TR_1", name)
