"""Audio to and from one of LiveKit's servers, over everything that happens to a session."""

from __future__ import annotations

import anyio
import pytest

from trio_rpc import (
    AudioSource,
    AudioStream,
)

from ...support.tones import RATE, is_tone
from ...support.waiting import wait_until
from .media_scene import BOBS_TONE, bob, hear, open_scene, playing

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


async def test_audio_goes_both_ways_beside_calls() -> None:
    async with open_scene(bob(BOBS_TONE)) as scene:
        scene.server.others[0].client_protocol = 0
        source = AudioSource(48_000, 1)
        await scene.publish(source)
        scene.server.send_tone("TR_bob", 660)
        track = await scene.bobs_track()
        async with playing(source, 440):
            await scene.server.media.hear()
            assert is_tone(await hear(track), 660)
            assert is_tone(await scene.server.media.hear(), 440)


@pytest.mark.rule("M6", "M7")
async def test_a_rejoin_publishes_tracks_again_and_streams_go_on() -> None:
    async with open_scene(bob(BOBS_TONE)) as scene:
        source = AudioSource(48_000, 1)
        sid = await scene.publish(source)
        scene.server.send_tone("TR_bob", 660)
        track = await scene.bobs_track()
        async with playing(source, 440), AudioStream(track) as stream:
            await anext(stream)
            scene.server.lose_transport()
            await wait_until(lambda: "local_track_republished" in scene.events)
            [publication] = scene.room.local_participant.track_publications.values()
            assert publication.sid != sid
            assert await scene.server.media.hears_tone(440)
            scene.server.send_tone("TR_bob", 660)
            await wait_until(lambda: bool(scene.server.media.sids))
            samples: list[int] = []
            async for event in stream:
                samples += event.frame.data
                if len(samples) > 3 * RATE:
                    break
            assert is_tone(samples[-RATE // 2 :], 660)
        assert "track_unsubscribed" not in scene.events


@pytest.mark.rule("M8")
async def test_the_loss_of_signalling_is_not_heard() -> None:
    async with open_scene(bob(BOBS_TONE)) as scene:
        source = AudioSource(48_000, 1)
        await scene.publish(source)
        async with playing(source, 440):
            await scene.server.media.hear()
            scene.proxy.refuse()
            scene.proxy.cut()
            assert is_tone(await scene.server.media.hear(), 440)
            scene.proxy.refuse(False)
            # The first was to join, the second to publish.
            await scene.server.wait_signal("offer", 3)
            scene.server.send_tone("TR_bob", 660)
            assert is_tone(await hear(await scene.bobs_track()), 660)


@pytest.mark.rule("M8")
async def test_what_is_published_without_signalling_is_published_with_it() -> None:
    async with open_scene() as scene:
        source = AudioSource(48_000, 1)
        scene.proxy.refuse()
        scene.proxy.cut()
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(scene.publish, source)
            await anyio.wait_all_tasks_blocked()
            scene.proxy.refuse(False)
        assert scene.events == ["local_track_published"]


@pytest.mark.rule("M8")
async def test_muting_and_subscribing_without_signalling_are_told_with_it() -> None:
    async with open_scene(bob(BOBS_TONE)) as scene:
        sid = await scene.publish(AudioSource(48_000, 1))
        [ours] = scene.room.local_participant.track_publications.values()
        assert ours.track is not None
        theirs = scene.room.remote_participants["bob"].track_publications["TR_bob"]
        scene.proxy.refuse()
        scene.proxy.cut()
        # What is sent before the loss is noticed is lost too.
        ours.track.mute()
        theirs.set_subscribed(False)
        scene.proxy.refuse(False)
        assert not (await scene.server.wait_signal("subscription")).subscribe
        request = await scene.server.wait_signal("mute")
        assert (request.sid, request.muted) == (sid, True)


@pytest.mark.rule("M3", "M6")
async def test_a_muted_track_is_muted_after_a_rejoin() -> None:
    async with open_scene() as scene:
        await scene.publish(AudioSource(48_000, 1))
        [ours] = scene.room.local_participant.track_publications.values()
        assert ours.track is not None
        ours.track.mute()
        scene.server.lose_transport()
        assert (await scene.server.wait_signal("add_track", 2)).muted
        await wait_until(lambda: "local_track_republished" in scene.events)
        assert ours.track.muted
