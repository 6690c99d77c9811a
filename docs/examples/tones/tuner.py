"""An agent that hears tones, answers calls about them, and plays one."""

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
    RemoteParticipant,
    RemoteTrack,
    RemoteTrackPublication,
    Room,
    RpcInvocationData,
    TrackPublishOptions,
    TrackSource,
    VideoGrants,
)

RATE = 48_000

room = Room()
voice = AudioSource(RATE, 1)
heard: dict[str, float] = {}
news = trio.Condition()


@room.on("track_subscribed")
async def listen(
    track: RemoteTrack, _publication: RemoteTrackPublication, participant: RemoteParticipant
) -> None:
    """Listen to a track until it ends."""
    if isinstance(track, RemoteAudioTrack):
        async with AudioStream(track, sample_rate=RATE, frame_size_ms=500) as stream:
            async for event in stream:
                async with news:
                    heard[participant.identity] = frequency(event.frame)
                    news.notify_all()
        heard.pop(participant.identity, None)


def frequency(frame: AudioFrame) -> float:
    """Return how often a tone rises through 0 in a second; 0 where it begins or ends in between."""
    samples = frame.data.tolist()
    for edge in (samples[: RATE // 100], samples[-RATE // 100 :]):
        if max(edge) < 1_000:
            return 0
    return sum(before < 0 <= after for before, after in pairwise(samples)) / frame.duration


@room.register_rpc_method("what_do_you_hear")
async def what_do_you_hear(data: RpcInvocationData) -> str:
    """Answer as soon as the caller's tone is heard."""
    async with news:
        while not heard.get(data.caller_identity):
            await news.wait()
    return f"{heard[data.caller_identity]:.0f}"


@room.register_rpc_method("play")
async def play(data: RpcInvocationData) -> str:
    """Play a tone for two seconds, and answer when it is over."""
    hertz = float(data.payload)
    for start in range(0, 2 * RATE, RATE // 100):
        levels = array(
            "h",
            [
                int(10_000 * math.sin(2 * math.pi * hertz * position / RATE))
                for position in range(start, start + RATE // 100)
            ],
        )
        # Waits while a second of audio is queued.
        await voice.capture_frame(AudioFrame(levels.tobytes(), RATE, 1, len(levels)))
    await voice.wait_for_playout()
    return "played"


async def main() -> None:
    grants = VideoGrants(room_join=True, room="band")
    token = AccessToken().with_identity("tuner").with_grants(grants).to_jwt()
    async with room.connect(os.environ["LIVEKIT_URL"], token):
        track = LocalAudioTrack.create_audio_track("voice", voice)
        options = TrackPublishOptions(source=TrackSource.SOURCE_MICROPHONE)
        await room.local_participant.publish_track(track, options)
        print("Listening", flush=True)
        await trio.sleep_forever()


trio.run(main)
