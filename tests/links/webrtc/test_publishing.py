"""The tracks that we publish on one of LiveKit's servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import (
    AudioSource,
    LocalAudioTrack,
    LocalVideoTrack,
    PublishTrackError,
    UnpublishTrackError,
    VideoSource,
)

from ...support.tones import is_tone
from ...support.waiting import wait_until
from .livekit_server import info
from .media_scene import BOBS_TONE, bob, hear, open_scene, playing

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 1), (24_000, 1), (44_100, 2)])
@pytest.mark.rule("M1")
async def test_others_hear_what_is_captured(rate: int, channels: int) -> None:
    async with open_scene() as scene:
        source = AudioSource(rate, channels)
        sid = await scene.publish(source)
        [publication] = scene.room.local_participant.track_publications.values()
        assert publication.sid == sid
        request = await scene.server.wait_signal("add_track")
        assert (request.name, request.source) == ("voice", models.MICROPHONE)
        async with playing(source, 440):
            assert await scene.server.media.hears_tone(440)
        assert scene.events == ["local_track_published"]


@pytest.mark.rule("M1")
async def test_silence_is_sent_where_nothing_is_captured() -> None:
    async with open_scene() as scene:
        await scene.publish(AudioSource(48_000, 1))
        await scene.server.media.hear()
        assert max(await scene.server.media.hear()) < 10


@pytest.mark.rule("M3")
async def test_a_muted_track_is_silent() -> None:
    async with open_scene() as scene:
        source = AudioSource(48_000, 1)
        sid = await scene.publish(source)
        [publication] = scene.room.local_participant.track_publications.values()
        track = publication.track
        assert track is not None
        async with playing(source, 440):
            await scene.server.media.hear()
            track.mute()
            assert track.muted
            assert publication.muted
            await scene.server.media.hear()
            assert max(await scene.server.media.hear()) < 10
            # The server unmutes it; that it is told too is no matter.
            scene.server.say(rtc.SignalResponse(mute=rtc.MuteTrackRequest(sid=sid, muted=False)))
            await wait_until(lambda: not track.muted)
            assert await scene.server.media.hears_tone(440)
        request = await scene.server.wait_signal("mute")
        assert (request.sid, request.muted) == (sid, True)
        assert scene.events == ["local_track_published", "track_muted", "track_unmuted"]
        await scene.room.local_participant.unpublish_track(sid)
        track.mute()
        assert scene.events[3:] == ["local_track_unpublished"]


@pytest.mark.rule("M2")
async def test_what_is_unpublished_is_not_sent() -> None:
    async with open_scene() as scene:
        source = AudioSource(48_000, 1)
        sid = await scene.publish(source)
        await scene.server.media.hear()
        [publication] = scene.room.local_participant.track_publications.values()
        await scene.room.local_participant.unpublish_track(sid)
        assert publication.track is None
        assert not scene.room.local_participant.track_publications
        await wait_until(lambda: bool(scene.server.media.idle))
        assert scene.events == ["local_track_published", "local_track_unpublished"]
        with pytest.raises(UnpublishTrackError, match="no track of ours"):
            await scene.room.local_participant.unpublish_track(sid)


@pytest.mark.rule("M2")
async def test_the_next_track_takes_the_section_of_one_that_is_unpublished() -> None:
    async with open_scene(bob(BOBS_TONE)) as scene:
        media = scene.server.media
        us = scene.room.local_participant
        pictures = VideoSource(64, 48)
        for _ in range(4):
            sid = await scene.publish(AudioSource(48_000, 1))
            film = LocalVideoTrack.create_video_track("film", pictures)
            publication = await us.publish_track(film)
            await wait_until(lambda: len(media.sending) == 2)
            await us.unpublish_track(sid)
            await us.unpublish_track(publication.sid)
            await wait_until(lambda: len(media.idle) == 2)
            assert not media.sending
        # What others send takes none of them.
        scene.server.send_tone("TR_bob", 660)
        assert is_tone(await hear(await scene.bobs_track()), 660)
        assert media.idle.isdisjoint(media.sids)


@contextmanager
def not_published(why: str) -> Iterator[None]:
    with pytest.raises(PublishTrackError, match=why):
        yield


@pytest.mark.rule("M1")
async def test_a_refusal_is_told() -> None:
    async with open_scene() as scene:
        scene.server.track_refusal = "no microphones"
        with not_published("NOT_ALLOWED: no microphones"):
            await scene.publish(AudioSource(48_000, 1))
        assert not scene.room.local_participant.track_publications
        assert scene.events == []


@pytest.mark.rule("M1")
async def test_a_server_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_rpc.client.tracks.publishing.PUBLISH_TIMEOUT", 0.1)
    async with open_scene() as scene:
        scene.server.answers_tracks = False
        with not_published("did not answer"):
            await scene.publish(AudioSource(48_000, 1))


@pytest.mark.rule("M1")
async def test_a_cancelled_publication_leaves_nothing() -> None:
    async with open_scene() as scene:
        scene.server.answers_tracks = False
        source = AudioSource(48_000, 1)
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(scene.publish, source)
            await scene.server.wait_signal("add_track")
            task_group.cancel_scope.cancel()
        scene.server.answers_tracks = True
        # The same source may be published, since nothing of it is.
        await scene.publish(source)
        assert scene.events == ["local_track_published"]


@pytest.mark.rule("M1")
async def test_a_publication_that_is_cancelled_as_it_succeeds_is_withdrawn() -> None:
    async with open_scene() as scene:
        source = AudioSource(48_000, 1)
        async with anyio.create_task_group() as task_group:
            cancel = task_group.cancel_scope.cancel
            scene.room.once("local_track_published", cancel)
            task_group.start_soon(scene.publish, source)
        assert not scene.room.local_participant.track_publications
        assert scene.events == ["local_track_published", "local_track_unpublished"]


@pytest.mark.rule("M1")
async def test_leaving_fails_what_is_being_published() -> None:
    async with open_scene() as scene:
        scene.server.answers_tracks = False
        async with anyio.create_task_group() as task_group:

            async def publish() -> None:
                with not_published("we left the room"):
                    await scene.publish(AudioSource(48_000, 1))

            task_group.start_soon(publish)
            await scene.server.wait_signal("add_track")
            await scene.room.disconnect()
        with not_published("we left the room"):
            await scene.publish(AudioSource(48_000, 1))


@pytest.mark.rule("M1")
async def test_a_track_is_published_once() -> None:
    async with open_scene() as scene:
        track = LocalAudioTrack.create_audio_track("voice", AudioSource(48_000, 1))
        await scene.room.local_participant.publish_track(track)
        with not_published("published already"):
            await scene.room.local_participant.publish_track(track)


def without_codecs_for_video(response: rtc.SignalResponse) -> rtc.SignalResponse:
    """Reject video, as a server does whose codecs are others."""
    session, *sections = response.answer.sdp.split("m=")
    for number, section in enumerate(sections):
        if section.startswith("video"):
            sections[number] = "video 0 UDP/TLS/RTP/SAVPF 0\r\n"
    response.answer.sdp = "m=".join([session, *sections])
    return response


@pytest.mark.rule("M9")
async def test_a_track_without_a_codec_in_common_ends_alone() -> None:
    async with open_scene() as scene:
        us = scene.room.local_participant
        scene.server.tamper = lambda response: (
            without_codecs_for_video(response) if response.HasField("answer") else response
        )
        for _ in range(2):
            film = LocalVideoTrack.create_video_track("film", VideoSource(64, 48))
            await us.publish_track(film)
            await wait_until(lambda: not us.track_publications)
        source = AudioSource(48_000, 1)
        await scene.publish(source)
        async with playing(source, 440):
            assert await scene.server.media.hears_tone(440)
        assert scene.events == [
            *["local_track_published", "local_track_unpublished"] * 2,
            "local_track_published",
        ]
        # Nothing was joined again.
        assert len(scene.server.requests) == 1


@pytest.mark.rule("M10")
async def test_a_hundred_tracks_are_published_at_once() -> None:
    async with open_scene() as scene, anyio.create_task_group() as task_group:
        scene.server.answers_tracks = False
        for _ in range(100):
            task_group.start_soon(scene.publish, AudioSource(48_000, 1))
        await scene.server.wait_signal("add_track", 100)
        with not_published("100 tracks are, the most at once; unpublish one first"):
            await scene.publish(AudioSource(48_000, 1))
        task_group.cancel_scope.cancel()


@pytest.mark.rule("M10")
async def test_what_has_come_and_gone_before_an_answer_is_not_offered() -> None:
    async with open_scene() as scene:
        server = scene.server
        withheld: list[rtc.SignalResponse] = []

        def withhold(response: rtc.SignalResponse) -> rtc.SignalResponse | None:
            if response.HasField("answer"):
                withheld.append(response)
                return None
            return response

        server.tamper = withhold
        await scene.publish(AudioSource(48_000, 1))
        await wait_until(lambda: bool(withheld))
        for _ in range(10):
            sid = await scene.publish(AudioSource(48_000, 1))
            await scene.room.local_participant.unpublish_track(sid)
            wish = rtc.MediaSectionsRequirement(num_audios=1, num_videos=2)
            server.say(rtc.SignalResponse(media_sections_requirement=wish))
        server.tamper = lambda response: response
        server.say(withheld[0])
        offer = await server.wait_signal("offer", 3)
        assert offer.sdp.count("a=sendonly") == 1
        assert offer.sdp.count("a=recvonly") == 30


@pytest.mark.rule("M1")
async def test_without_the_grant_nothing_is_asked() -> None:
    async with open_scene() as scene:
        us = info("alice", scene.room.local_participant.sid)
        us.permission.can_publish = False
        scene.server.announce(us)
        await wait_until(lambda: not scene.room.local_participant.permissions.can_publish)
        with not_published("canPublish"):
            await scene.publish(AudioSource(48_000, 1))
        assert not any(each.HasField("add_track") for each in scene.server.signals)
