"""Audio to and from one of LiveKit's servers, over everything that happens to a session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final

import anyio
import pytest
from attrs import frozen
from livekit.protocol import models, rtc

from trio_rpc import (
    AudioSource,
    AudioStream,
    LocalAudioTrack,
    LocalVideoTrack,
    PublishTrackError,
    Room,
    RoomOptions,
    TrackPublishOptions,
    TrackSource,
    UnpublishTrackError,
    VideoSource,
)
from trio_rpc.events import EventName
from trio_rpc.participant import RemoteTrack, RemoteTrackPublication

from ...support.proxy import Proxy, open_proxy
from ...support.tones import RATE, is_tone, tone
from ...support.waiting import wait_until
from .livekit_server import ScriptedLiveKit, info, scripted_livekit

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

TOKEN = "a.b.c"
_TRACK_EVENTS: Final[tuple[EventName, ...]] = (
    "local_track_published",
    "local_track_republished",
    "local_track_unpublished",
    "local_track_subscribed",
    "track_published",
    "track_unpublished",
    "track_subscribed",
    "track_unsubscribed",
    "track_muted",
    "track_unmuted",
)


def bob(*tracks: models.TrackInfo) -> models.ParticipantInfo:
    participant = info("bob", "PA_bob")
    participant.tracks.extend(tracks)
    return participant


BOBS_TONE = models.TrackInfo(sid="TR_bob", name="tone", type=models.AUDIO)


@frozen
class Scene:
    """A room on the server, which is reached through a proxy that breaks WebSockets alone."""

    server: ScriptedLiveKit
    proxy: Proxy
    room: Room
    events: list[str]

    async def publish(self, source: AudioSource, name: str = "voice") -> str:
        """Publish a track of a source, and return its SID."""
        track = LocalAudioTrack.create_audio_track(name, source)
        publication = await self.room.local_participant.publish_track(
            track, TrackPublishOptions(source=TrackSource.SOURCE_MICROPHONE)
        )
        assert publication.track is track
        return publication.sid

    async def bobs_publication(self) -> RemoteTrackPublication:
        """Return the track that bob has published, once it is received."""
        await wait_until(lambda: "track_subscribed" in self.events)
        return self.room.remote_participants["bob"].track_publications["TR_bob"]

    async def bobs_track(self) -> Any:
        publication = await self.bobs_publication()
        assert publication.track is not None
        return publication.track


@asynccontextmanager
async def open_scene(
    *others: models.ParticipantInfo, options: RoomOptions | None = None
) -> AsyncIterator[Scene]:
    async with scripted_livekit() as (server, url), open_proxy(url) as proxy:
        server.others.extend(others)
        room = Room()
        events: list[str] = []
        for name in _TRACK_EVENTS:
            room.on(name, partial(events.append, name))
        async with room.connect(proxy.url, TOKEN, options):
            await wait_until(server.is_connected)
            yield Scene(server, proxy, room, events)


@asynccontextmanager
async def playing(source: AudioSource, hertz: float) -> AsyncIterator[None]:
    """Play a tone in the block."""

    async def play() -> None:
        for frame in tone(hertz, rate=source.sample_rate, channels=source.num_channels):
            await source.capture_frame(frame)

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(play)
        yield
        task_group.cancel_scope.cancel()


async def hear(track: RemoteTrack, rate: int = RATE, **options: Any) -> list[int]:
    """Return half a second of a track, after what was there before."""
    samples: list[int] = []
    async with AudioStream(track, sample_rate=rate, **options) as stream:  # type: ignore[arg-type]
        async for event in stream:
            samples += event.frame.data
            if len(samples) > rate * 0.7:
                break
    return samples[-rate // 2 :]


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
            await scene.server.media.hear()
            assert is_tone(await scene.server.media.hear(), 440)
        assert scene.events == ["local_track_published"]


@pytest.mark.rule("M1")
async def test_silence_is_sent_where_nothing_is_captured() -> None:
    async with open_scene() as scene:
        await scene.publish(AudioSource(48_000, 1))
        await scene.server.media.hear()
        assert max(await scene.server.media.hear()) < 10


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
            await scene.server.media.hear()
            assert is_tone(await scene.server.media.hear(), 440)
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
            await scene.server.media.hear()
            assert is_tone(await scene.server.media.hear(), 440)
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
            await scene.server.media.hear()
            assert is_tone(await scene.server.media.hear(), 440)
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
        with not_published("100 tracks are, the most at once"):
            await scene.publish(AudioSource(48_000, 1))
        task_group.cancel_scope.cancel()


@pytest.mark.rule("M10")
async def test_a_server_does_not_have_us_receive_without_end() -> None:
    async with open_scene() as scene:
        requirement = rtc.MediaSectionsRequirement(num_audios=150, num_videos=150)
        scene.server.say(rtc.SignalResponse(media_sections_requirement=requirement))
        offer = await scene.server.wait_signal("offer", 2)
        assert offer.sdp.count("a=recvonly") == 200


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
