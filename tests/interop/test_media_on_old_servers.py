"""Audio over LiveKit's older signalling, with a peer connection for each direction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from trio_rpc import AudioSource, ConnectError, LocalAudioTrack, RemoteAudioTrack, Room
from trio_rpc.links.websocket import SignallingServer

from ..links.webrtc.media_scene import hear, playing
from ..support.tokens import make_token
from ..support.tones import is_tone
from ..support.waiting import wait_until
from .server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


@asynccontextmanager
async def not_found() -> AsyncIterator[None]:
    raise ConnectError("not found", status=404)
    yield


@pytest.fixture
def _old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the server answer as those before the present signalling."""
    present = SignallingServer.open

    def open_old(server: SignallingServer, path: str, *arguments: Any) -> Any:
        return not_found() if path == "/rtc/v1" else present(server, path, *arguments)

    monkeypatch.setattr(SignallingServer, "open", open_old)


@pytest.mark.usefixtures("_old")
async def test_tones_are_heard_one_after_another(livekit_server: Server) -> None:
    alice, bob = Room(), Room()
    tracks: list[RemoteAudioTrack] = []
    bob.on("track_subscribed", tracks.append)
    url = livekit_server.url
    async with (
        alice.connect(url, make_token("alice", room="old")),
        bob.connect(url, make_token("bob", room="old")),
    ):
        source = AudioSource(48_000, 1)
        for _ in range(3):
            tracks.clear()
            track = LocalAudioTrack.create_audio_track("tone", source)
            publication = await alice.local_participant.publish_track(track)
            async with playing(source, 440):
                await wait_until(lambda: bool(tracks))
                assert is_tone(await hear(tracks[0]), 440)
            await alice.local_participant.unpublish_track(publication.sid)
