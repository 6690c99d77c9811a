"""A room on one of LiveKit's servers, for tests of audio and video."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import anyio
from attrs import frozen
from livekit.protocol import models

from trio_rpc import (
    AudioSource,
    AudioStream,
    LocalAudioTrack,
    Room,
    RoomOptions,
    TrackPublishOptions,
    TrackSource,
)
from trio_rpc.events import EventName
from trio_rpc.participant import RemoteTrack, RemoteTrackPublication

from ...support.proxy import Proxy, open_proxy
from ...support.tones import RATE, tone
from ...support.waiting import wait_until
from .livekit_server import ScriptedLiveKit, info, scripted_livekit

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
