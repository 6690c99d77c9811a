"""Servers that carry data alone, such as ours: tracks are refused at once."""

from __future__ import annotations

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import (
    AudioSource,
    LocalAudioTrack,
    PublishTrackError,
    Room,
    TrackKind,
    TrackSource,
    UnpublishTrackError,
)

from ...conftest import Join
from ...support.scripted_server import ScriptedServer, participant_info

pytestmark = pytest.mark.anyio


@pytest.mark.rule("M5")
async def test_our_server_refuses_tracks_at_once(join: Join) -> None:
    async with join("alice") as room:
        track = LocalAudioTrack.create_audio_track("voice", AudioSource(48_000, 1))
        start = anyio.current_time()
        with pytest.raises(PublishTrackError, match="carries data and no media"):
            await room.local_participant.publish_track(track)
        assert anyio.current_time() == start
        assert not room.local_participant.track_publications
        with pytest.raises(UnpublishTrackError, match="TR_1"):
            await room.local_participant.unpublish_track("TR_1")


@pytest.mark.rule("M4")
async def test_publications_are_seen_on_any_server() -> None:
    server = ScriptedServer(others=())
    bob = participant_info("bob")
    async with Room().connect(server, "a token") as room, room.events() as events:
        for muted in (False, True, False):
            track = models.TrackInfo(
                sid="TR_1",
                name="voice",
                type=models.AUDIO,
                source=models.MICROPHONE,
                mime_type="audio/opus",
                muted=muted,
            )
            bob.ClearField("tracks")
            bob.tracks.append(track)
            server.send_signal(update=rtc.ParticipantUpdate(participants=[bob]))
        await anyio.wait_all_tasks_blocked()
        [publication] = room.remote_participants["bob"].track_publications.values()
        assert (publication.sid, publication.name) == ("TR_1", "voice")
        assert publication.kind is TrackKind.KIND_AUDIO
        assert publication.source is TrackSource.SOURCE_MICROPHONE
        assert publication.mime_type == "audio/opus"
        assert publication.track is None
        bob.state = models.ParticipantInfo.DISCONNECTED
        server.send_signal(update=rtc.ParticipantUpdate(participants=[bob]))
        await anyio.wait_all_tasks_blocked()
        names: list[str] = []
        async for event in events:
            names.append(event.name)
            if event.name == "participant_disconnected":
                break
    assert names == [
        "participant_connected",
        "participant_active",
        "track_published",
        "track_muted",
        "track_unmuted",
        "track_unpublished",
        "participant_disconnected",
    ]
