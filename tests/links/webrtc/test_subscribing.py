"""The tracks of others, on one of LiveKit's servers."""

from __future__ import annotations

import pytest
from livekit.protocol import models, rtc

from trio_rpc import (
    AudioStream,
    RoomOptions,
)

from ...support.tones import RATE, is_tone
from ...support.waiting import wait_until
from .media_scene import BOBS_TONE, bob, hear, open_scene

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


@pytest.mark.rule("M4")
async def test_a_track_is_heard() -> None:
    async with open_scene(bob(BOBS_TONE)) as scene:
        scene.server.send_tone("TR_bob", 660)
        track = await scene.bobs_track()
        assert is_tone(await hear(track), 660)
        # In other forms, at the same time as in this one.
        async with AudioStream(track, num_channels=2, frame_size_ms=20) as stream:
            assert is_tone(await hear(track, 16_000), 660, 16_000)
            frame = (await anext(stream)).frame
        assert (frame.sample_rate, frame.num_channels, frame.samples_per_channel) == (RATE, 2, 960)


@pytest.mark.rule("M4")
async def test_two_tracks_are_not_mixed_up() -> None:
    other = models.TrackInfo(sid="TR_other", name="other", type=models.AUDIO)
    async with open_scene(bob(BOBS_TONE, other)) as scene:
        scene.server.send_tone("TR_bob", 660)
        await scene.bobs_track()
        scene.server.send_tone("TR_other", 330)
        await wait_until(lambda: scene.events.count("track_subscribed") == 2)
        for sid, hertz in (("TR_bob", 660), ("TR_other", 330)):
            track = scene.room.remote_participants["bob"].track_publications[sid].track
            assert track is not None
            assert is_tone(await hear(track), hertz)


@pytest.mark.rule("M4")
async def test_a_track_ends_with_its_publication() -> None:
    async with open_scene(bob(BOBS_TONE)) as scene:
        scene.server.send_tone("TR_bob", 660)
        publication = await scene.bobs_publication()
        track = publication.track
        assert track is not None
        async with AudioStream(track) as stream:  # type: ignore[arg-type]
            scene.server.announce(bob())
            _ = [event async for event in stream]
        assert not publication.subscribed
        assert scene.events == ["track_subscribed", "track_unsubscribed", "track_unpublished"]
        async with AudioStream(track) as stream:  # type: ignore[arg-type]
            assert [event async for event in stream] == []


async def test_a_track_ends_with_the_room() -> None:
    async with open_scene(bob(BOBS_TONE)) as scene:
        scene.server.send_tone("TR_bob", 660)
        track = await scene.bobs_track()
        async with AudioStream(track) as stream:
            await scene.room.disconnect()
            _ = [event async for event in stream]


@pytest.mark.rule("M4", "M7")
async def test_a_subscription_is_chosen() -> None:
    async with open_scene(bob(BOBS_TONE), options=RoomOptions(auto_subscribe=False)) as scene:
        [join] = scene.server.requests
        assert not join.connection_settings.auto_subscribe
        publication = scene.room.remote_participants["bob"].track_publications["TR_bob"]
        assert not publication.subscribed
        publication.set_subscribed(True)
        request = await scene.server.wait_signal("subscription")
        assert (list(request.track_sids), request.subscribe) == (["TR_bob"], True)
        scene.server.send_tone("TR_bob", 660)
        await scene.bobs_track()
        publication.set_subscribed(False)
        assert scene.events == ["track_subscribed", "track_unsubscribed"]
        assert not (await scene.server.wait_signal("subscription", 2)).subscribe
        # A server that we join again does not know.
        scene.server.lose_transport()
        assert not (await scene.server.wait_signal("subscription", 3)).subscribe


@pytest.mark.rule("M4")
async def test_all_tracks_are_received_unless_set_otherwise() -> None:
    async with open_scene() as scene:
        [join] = scene.server.requests
        assert join.connection_settings.auto_subscribe


@pytest.mark.rule("M10")
async def test_a_server_does_not_have_us_receive_without_end() -> None:
    async with open_scene() as scene:
        requirement = rtc.MediaSectionsRequirement(num_audios=150, num_videos=150)
        scene.server.say(rtc.SignalResponse(media_sections_requirement=requirement))
        offer = await scene.server.wait_signal("offer", 2)
        assert offer.sdp.count("a=recvonly") == 200
