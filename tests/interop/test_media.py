"""Audio and video on a livekit-server: ours and LiveKit's SDK hear and see each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from trio_rpc import AudioSource, LocalAudioTrack, LocalVideoTrack, Room, RoomOptions, VideoSource

from ..links.webrtc.media_scene import hear, playing
from ..support.tokens import make_token
from ..support.tones import is_tone
from ..support.waiting import wait_until
from .conftest import Cast, Programs
from .pairs import MEDIA_CASES
from .program import Peer, ProgramError
from .programs import OURS
from .server import Server

A4: Final = 440.0
E5: Final = 660.0
RED: Final = (200, 20, 30)
BLUE: Final = (20, 30, 200)
#: A browser converts colours in a way of its own.
NEAR: Final = 40


@pytest.fixture(params=MEDIA_CASES, ids=lambda case: " and ".join(case[1:]))
def pair(
    request: pytest.FixtureRequest, livekit_cast: Cast, programs: Programs
) -> Iterator[tuple[Peer, Peer]]:
    """Two participants in a room of their own."""
    room = Cast(f"media {request.param}", *livekit_cast.server, suffix=" with sound")
    first, second = (
        room.peer(kind, f"is number {place}") for place, kind in enumerate(request.param[1:])
    )
    room.introduce(first, second)
    yield first, second
    room.leave()


@pytest.mark.column("audio")
@pytest.mark.rule("M1", "M4")
def test_they_hear_each_other(pair: tuple[Peer, Peer]) -> None:
    first, second = pair
    first.play("low", A4)
    second.wait_for("subscribed", who=first.identity, name="low")
    assert second.hear(first.identity) == pytest.approx(A4, rel=0.02)
    second.play("high", E5)
    first.wait_for("subscribed", who=second.identity, name="high")
    assert first.hear(second.identity) == pytest.approx(E5, rel=0.02)
    # Calls go on beside it.
    assert first.call(second.identity, "echo", "hi") == "hi"


@pytest.mark.column("unpublished")
@pytest.mark.rule("M2")
def test_another_track_follows_one_that_is_unpublished(pair: tuple[Peer, Peer]) -> None:
    first, second = pair
    sid = first.play("low", E5)
    second.wait_for("subscribed", who=first.identity, name="low")
    first.unpublish(sid)
    second.wait_for("unpublished", who=first.identity, name="low")
    first.play("again", A4)
    second.wait_for("subscribed", who=first.identity, name="again")
    assert second.hear(first.identity) == pytest.approx(A4, rel=0.02)


@pytest.mark.column("after a rejoin")
@pytest.mark.rule("M6")
def test_a_rejoin_publishes_again(pair: tuple[Peer, Peer]) -> None:
    first, second = pair
    first.play("low", A4)
    second.wait_for("subscribed", who=first.identity, name="low")
    first.reconnect_fully()
    second.wait_for("subscribed", who=first.identity, name="low")
    assert second.hear(first.identity) == pytest.approx(A4, rel=0.02)


@pytest.mark.column("video")
@pytest.mark.rule("M1", "M4")
def test_they_see_each_other(pair: tuple[Peer, Peer]) -> None:
    first, second = pair
    first.show("red", RED)
    second.wait_for("subscribed", who=first.identity, name="red")
    assert second.see(first.identity) == pytest.approx(RED, abs=NEAR)
    second.show("blue", BLUE)
    first.wait_for("subscribed", who=second.identity, name="blue")
    assert first.see(second.identity) == pytest.approx(BLUE, abs=NEAR)


@pytest.mark.rule("M9")
@pytest.mark.parametrize("kind", sorted(OURS))
def test_a_track_of_no_codec_of_ours_is_told_and_others_go_on(
    kind: str, livekit_cast: Cast
) -> None:
    room = Cast(f"codecs {kind}", *livekit_cast.server, suffix=" with another codec")
    publisher, ours = room.peer("python", "publishes"), room.peer(kind, "receives")
    room.introduce(publisher, ours)
    publisher.show("film", RED, codec="VP9")
    ours.wait_for("not subscribed", who=publisher.identity, error="SE_CODEC_UNSUPPORTED")
    publisher.play("low", A4)
    ours.wait_for("subscribed", who=publisher.identity, name="low")
    assert ours.hear(publisher.identity) == pytest.approx(A4, rel=0.02)
    room.leave()


@pytest.mark.rule("M5")
def test_ours_refuses_at_once(cast: Cast) -> None:
    for kind in sorted(OURS):
        with pytest.raises(ProgramError, match=r"PublishTrackError.*carries data and no media"):
            cast.peer(kind, "would play").play("low", A4)


@pytest.mark.anyio
@pytest.mark.real_time
@pytest.mark.thorough
@pytest.mark.rule("M2")
async def test_a_thousand_tracks_come_and_go(livekit_server: Server) -> None:
    alice, bob = Room(), Room()
    url = livekit_server.url
    names: list[str] = []
    alice.on("reconnecting", lambda: names.append("reconnecting"))
    bob.on("track_published", lambda publication, _: names.append(publication.name))
    bob.on("track_unpublished", lambda publication, _: names.append(f"not {publication.name}"))
    async with (
        alice.connect(url, make_token("alice", room="thousand")),
        bob.connect(url, make_token("bob", room="thousand"), RoomOptions(auto_subscribe=False)),
    ):
        sounds, pictures = AudioSource(48_000, 1), VideoSource(64, 48)
        for number in range(1_000):
            names.clear()
            track = (
                LocalVideoTrack.create_video_track(str(number), pictures)
                if number % 5 == 0
                else LocalAudioTrack.create_audio_track(str(number), sounds)
            )
            publication = await alice.local_participant.publish_track(track)
            await wait_until(lambda: len(names) == 1)
            await alice.local_participant.unpublish_track(publication.sid)
            await wait_until(lambda: len(names) == 2)
            assert names == [str(number), f"not {number}"]
        await alice.local_participant.publish_track(
            LocalAudioTrack.create_audio_track("last", sounds)
        )
        await wait_until(lambda: len(names) == 3)
        [theirs] = bob.remote_participants["alice"].track_publications.values()
        theirs.set_subscribed(True)
        async with playing(sounds, A4):
            await wait_until(lambda: theirs.subscribed)
            assert theirs.track is not None
            assert is_tone(await hear(theirs.track), A4)
