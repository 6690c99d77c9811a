"""A musician who plays a tone, asks the agent what it hears, and listens to it."""

import math
import os
from array import array
from itertools import pairwise

import trio

from trio_rpc import (
    AccessToken,
    AudioFrame,
    AudioSource,
    AudioStream,
    LocalAudioTrack,
    RemoteAudioTrack,
    Room,
    VideoGrants,
    events,
)

RATE = 48_000


async def play(source: AudioSource, hertz: float) -> None:
    """Play a tone without end."""
    start = 0
    while True:
        levels = array(
            "h",
            [
                int(10_000 * math.sin(2 * math.pi * hertz * position / RATE))
                for position in range(start, start + RATE // 100)
            ],
        )
        await source.capture_frame(AudioFrame(levels.tobytes(), RATE, 1, len(levels)))
        start += len(levels)


async def hear(track: RemoteAudioTrack) -> float:
    """Return the frequency of the next tone."""
    async with AudioStream(track, sample_rate=RATE, frame_size_ms=500) as stream:
        async for event in stream:
            if hertz := frequency(event.frame):
                return hertz
    raise RuntimeError("the track has ended")


def frequency(frame: AudioFrame) -> float:
    """Return how often a tone rises through 0 in a second; 0 where it begins or ends in between."""
    samples = frame.data.tolist()
    for edge in (samples[: RATE // 100], samples[-RATE // 100 :]):
        if max(edge) < 1_000:
            return 0
    return sum(before < 0 <= after for before, after in pairwise(samples)) / frame.duration


async def main() -> None:
    grants = VideoGrants(room_join=True, room="band")
    token = AccessToken().with_identity("musician").with_grants(grants).to_jwt()
    room = Room()
    async with (
        room.events(events.TrackSubscribed) as subscriptions,
        room.connect(os.environ["LIVEKIT_URL"], token),
        trio.open_nursery() as nursery,
    ):
        tuner = await room.wait_for_participant("tuner")
        violin = AudioSource(RATE, 1)
        track = LocalAudioTrack.create_audio_track("violin", violin)
        await room.local_participant.publish_track(track)
        nursery.start_soon(play, violin, 440)
        hertz = float(await tuner.perform_rpc("what_do_you_hear", ""))
        print("The tuner hears about", round(hertz, -1), "Hz", flush=True)

        nursery.start_soon(tuner.perform_rpc, "play", "660")
        subscription = await anext(subscriptions)
        assert isinstance(subscription.track, RemoteAudioTrack)
        hertz = await hear(subscription.track)
        print("I hear about", round(hertz, -1), "Hz", flush=True)
        nursery.cancel_scope.cancel()


trio.run(main)
