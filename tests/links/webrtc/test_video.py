"""Video to and from one of LiveKit's servers."""

from __future__ import annotations

import pytest
from livekit.protocol import models

from trio_rpc import (
    LocalVideoTrack,
    RemoteVideoTrack,
    TrackKind,
    TrackPublishOptions,
    TrackSource,
    VideoBufferType,
    VideoFrame,
    VideoSource,
    VideoStream,
)

from ...support.waiting import wait_until
from .media_scene import Scene, bob, open_scene

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

RED = (200, 20, 30)
BLUE = (20, 30, 200)
BOBS_FILM = models.TrackInfo(
    sid="TR_bob", name="film", type=models.VIDEO, width=64, height=48, mime_type="video/VP8"
)


def picture(colour: tuple[int, int, int], width: int = 64, height: int = 48) -> VideoFrame:
    return VideoFrame(width, height, VideoBufferType.RGBA, bytes([*colour, 255]) * width * height)


def is_of(frame: VideoFrame, colour: tuple[int, int, int]) -> bool:
    """Whether the pixel in the middle of an RGBA frame is of a colour, as far as VP8 keeps it."""
    assert frame.type is VideoBufferType.RGBA
    at = 4 * (frame.width * (frame.height // 2) + frame.width // 2)
    pixel = frame.data[at : at + 3]
    return all(abs(got - wanted) < 25 for got, wanted in zip(pixel, colour, strict=True))


async def publish(scene: Scene, source: VideoSource) -> LocalVideoTrack:
    track = LocalVideoTrack.create_video_track("film", source)
    options = TrackPublishOptions(source=TrackSource.SOURCE_CAMERA)
    await scene.room.local_participant.publish_track(track, options)
    return track


@pytest.mark.parametrize("size", [(64, 48), (65, 49)])
@pytest.mark.rule("M1")
async def test_others_see_what_is_captured(size: tuple[int, int]) -> None:
    async with open_scene() as scene:
        source = VideoSource(*size)
        source.capture_frame(picture(RED, *size))
        await publish(scene, source)
        request = await scene.server.wait_signal("add_track")
        assert (request.type, request.width, request.height) == (models.VIDEO, *size)
        [layer] = request.layers
        assert (layer.quality, layer.width, layer.height) == (models.HIGH, *size)
        # The picture that was captured before, again and again.
        seen = scene.server.media.seen
        await wait_until(lambda: len(seen) >= 2)
        assert (seen[-1].width, seen[-1].height) == size
        assert is_of(seen[-1], RED)
        source.capture_frame(picture(BLUE, *size))
        await wait_until(lambda: is_of(seen[-1], BLUE))


@pytest.mark.rule("M3")
async def test_a_muted_track_shows_nothing() -> None:
    async with open_scene() as scene:
        source = VideoSource(64, 48)
        track = await publish(scene, source)
        source.capture_frame(picture(RED))
        seen = scene.server.media.seen
        await wait_until(lambda: bool(seen))
        track.mute()
        source.capture_frame(picture(BLUE))
        track.unmute()
        source.capture_frame(picture(RED))
        await wait_until(lambda: len(seen) >= 3)
        assert [frame for frame in seen if is_of(frame, BLUE)] == []


@pytest.mark.rule("M6")
async def test_a_rejoin_publishes_it_again() -> None:
    async with open_scene() as scene:
        source = VideoSource(64, 48)
        await publish(scene, source)
        source.capture_frame(picture(RED))
        await wait_until(lambda: bool(scene.server.media.seen))
        scene.server.lose_transport()
        await wait_until(lambda: "local_track_republished" in scene.events)
        await wait_until(lambda: bool(scene.server.media.seen))
        assert is_of(scene.server.media.seen[-1], RED)


@pytest.mark.parametrize("size", [(64, 48), (65, 49)])
@pytest.mark.rule("M4")
async def test_a_track_is_seen(size: tuple[int, int]) -> None:
    async with open_scene(bob(BOBS_FILM)) as scene:
        scene.server.send_picture("TR_bob", picture(BLUE, *size))
        publication = await scene.bobs_publication()
        assert publication.kind is TrackKind.KIND_VIDEO
        assert (publication.width, publication.height) == (64, 48)
        track = publication.track
        assert isinstance(track, RemoteVideoTrack)
        # Those who begin later see it too.
        for _ in range(2):
            async with VideoStream(track, format=VideoBufferType.RGBA) as stream:
                event = await anext(stream)
                assert (event.frame.width, event.frame.height) == size
                assert is_of(event.frame, BLUE)
        async with VideoStream.from_track(track=track, capacity=1) as stream:
            assert (await anext(stream)).frame.type is VideoBufferType.I420


async def test_audio_and_video_go_together() -> None:
    sound = models.TrackInfo(sid="TR_sound", name="sound", type=models.AUDIO)
    async with open_scene(bob(BOBS_FILM, sound)) as scene:
        scene.server.send_picture("TR_bob", picture(BLUE))
        scene.server.send_tone("TR_sound", 660)
        await wait_until(lambda: scene.events.count("track_subscribed") == 2)
        kinds = {
            sid: type(publication.track).__name__
            for sid, publication in scene.room.remote_participants["bob"].track_publications.items()
        }
        assert kinds == {"TR_bob": "RemoteVideoTrack", "TR_sound": "RemoteAudioTrack"}
