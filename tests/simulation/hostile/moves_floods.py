"""Moves that send a lot of one kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from livekit.protocol import metrics, models, rtc

from trio_rpc.links import Channel, Frame

from . import forging
from .play import Move, Play

DataStream = models.DataStream

#: Makes the n-th packet of a flood to a participant.
MakePacket = Callable[[Play, str, int], models.DataPacket]

_FLOODS: Final[dict[str, MakePacket]] = {
    "data": lambda play, to, _n: forging.user(play.signed().encode(), to, topic="flood"),
    "data of 10 kB": lambda play, to, _n: forging.user(
        play.signed().encode().ljust(10_000), to, topic="flood"
    ),
    "requests": lambda play, to, _n: forging.request(to, play.new_id(), play.payload()),
    "requests of 10 kB": lambda play, to, _n: forging.request(
        to, play.new_id(), play.payload().ljust(10_000)
    ),
    "requests to no method": lambda play, to, _n: forging.request(
        to, play.new_id(), "x", method="no method"
    ),
    "requests to nobody": lambda play, _to, _n: forging.request("nobody", play.new_id(), "x"),
    "requests to itself": lambda play, _to, _n: forging.request(
        play.me.identity, play.new_id(), "x"
    ),
    "request streams": lambda play, to, _n: forging.stream_request(
        to, play.new_id(), play.payload().encode()
    ),
    "acks": lambda _play, to, n: forging.ack(to, f"{n}"),
    "responses": lambda play, to, n: forging.response(to, f"{n}", play.signed()),
    "response streams": lambda _play, to, n: forging.stream_response(to, f"{n}", b"unasked"),
    "texts": lambda play, to, _n: forging.header(
        to, stream_id=play.new_id(), topic=forging.TEXT_TOPIC, content=play.signed().encode()
    ),
    "texts of no topic": lambda play, to, _n: forging.header(
        to, stream_id=play.new_id(), topic="nobody wants it", content=b"x" * 1_000
    ),
    "chunks": lambda _play, to, n: forging.chunk(to, stream_id="unknown", index=n),
    "trailers": lambda _play, to, n: forging.trailer(to, stream_id=f"unknown {n}"),
    "cancellations": lambda _play, to, n: forging.cancellation(to, f"unknown {n}"),
    "DTMF": lambda _play, to, _n: forging.packet(to, sip_dtmf=models.SipDTMF(code=1, digit="1")),
    "transcriptions": lambda play, to, _n: forging.packet(
        to,
        transcription=models.Transcription(
            transcribed_participant_identity=to,
            segments=[models.TranscriptionSegment(id="s", text=play.signed())],
        ),
    ),
    "chat messages": lambda _play, to, n: forging.packet(
        to, chat_message=models.ChatMessage(id=f"{n}", message="spam")
    ),
    "metrics": lambda _play, to, _n: forging.packet(
        to, metrics=metrics.MetricsBatch(str_data=["m"] * 20)
    ),
    "encrypted packets": lambda _play, to, _n: forging.packet(
        to, encrypted_packet=models.EncryptedPacket(encrypted_value=bytes(200))
    ),
}

_SIGNALS: Final[dict[str, Callable[[Play, int], dict[str, Any]]]] = {
    "pings": lambda _play, n: {"ping": n},
    "pings with an answer": lambda _play, n: {"ping_req": rtc.Ping(timestamp=n)},
    "tracks": lambda _play, _n: {"add_track": rtc.AddTrackRequest(name="t" * 200)},
    "data tracks": lambda _play, _n: {
        "publish_data_track_request": rtc.PublishDataTrackRequest(name="d" * 200)
    },
    "names": lambda _play, n: {
        "update_metadata": rtc.UpdateParticipantMetadata(name=f"name {n}", request_id=n)
    },
    "metadata": lambda _play, n: {
        "update_metadata": rtc.UpdateParticipantMetadata(metadata=f"{n} ".ljust(2_000))
    },
    "metadata beyond the limit": lambda _play, _n: {
        "update_metadata": rtc.UpdateParticipantMetadata(metadata="m" * 64_100)
    },
    "attributes": lambda _play, n: {
        "update_metadata": rtc.UpdateParticipantMetadata(attributes={f"key {n}": "value"})
    },
}


async def _flood(play: Play, make: MakePacket) -> None:
    """Send many of one kind to one, or to everybody by turns, reliably or not."""
    random = play.random
    count = random.choice((40, 100, 250))
    alone = play.victim().identity
    identities = [each.identity for each in play.table.honest()]
    to_one = random.random() < 0.7
    packets = [make(play, alone if to_one else random.choice(identities), n) for n in range(count)]
    if random.random() < 0.5:
        await play.send_together(*packets)
    elif random.random() < 0.5:
        await play.send(*packets)
    else:
        await play.me.send(*packets, channel=Channel.LOSSY)


async def _flood_with_signals(play: Play, make: Callable[[Play, int], dict[str, Any]]) -> None:
    bodies = [
        rtc.SignalRequest(**make(play, n)).SerializeToString()
        for n in range(play.random.choice((20, 60)))
    ]
    await play.me.send_together([Frame(Channel.SIGNAL, body) for body in bodies])


async def data_for_everybody(play: Play) -> None:
    """Send data that names nobody: each is many on the server."""
    count = play.random.choice((50, 200))
    small = forging.user(play.signed().encode(), topic="everybody")
    large = forging.user(play.signed().encode().ljust(20_000), topic="everybody")
    await play.me.send_together([small] * count)
    await play.me.send(*[large] * (count // 10))


async def more_than_a_queue(play: Play) -> None:
    """Send one who reads more than the server keeps for it, as fast as the link takes it."""
    callee = play.victim(lambda profile: profile.is_direct).identity
    size = min(10_000, play.limits.max_queue_bytes // 50)
    body = play.signed().encode().ljust(size)
    fitting = max(play.limits.max_message_bytes // (size + 200), 1)
    message = [forging.user(body, callee, topic="flood")] * fitting
    for _ in range(2 * play.limits.max_queue_bytes // (size * fitting) + 1):
        await play.me.send_together(message)


async def small_frames_become_large(play: Play) -> None:
    """Send one message of packets that the server's stamps make several times as large."""
    callee = play.victim(lambda profile: profile.is_direct).identity
    tiny = Frame(Channel.RELIABLE, forging.user(b"", callee).SerializeToString())
    # What is one queue of the receiver's, once each has its stamps.
    count = min(play.limits.max_queue_bytes // 60, 20_000)
    await play.me.send_together([tiny] * count)


async def small_changes_of_large_attributes(play: Play) -> None:
    """Have large attributes announced to everybody again and again, for a few bytes each."""
    large = {f"{number}": "a" * 5_900 for number in range(10)}
    await play.me.send_signal(update_metadata=rtc.UpdateParticipantMetadata(attributes=large))
    small = rtc.SignalRequest(
        update_metadata=rtc.UpdateParticipantMetadata(attributes={"0": "b" * 5})
    ).SerializeToString()
    count = 2 * play.limits.max_queue_bytes // 55_000 + 10
    await play.me.send_together([Frame(Channel.SIGNAL, small)] * count)
    await play.wait(0.2)
    await play.me.send_signal(
        update_metadata=rtc.UpdateParticipantMetadata(attributes=dict.fromkeys(large, ""))
    )


async def tiny_frames(play: Play) -> None:
    """Send one message of frames by the hundred thousand."""
    empty, ping, unknown = b"", b"\x70\x01", b"\xa0\x06\x01"
    body, count = play.random.choice(((empty, 100_000), (unknown, 100_000), (ping, 10_000)))
    await play.me.send_message(forging.tiny_frames(body, count))


MOVES: Final[dict[str, Move]] = {
    **{f"flood of {name}": partial(_flood, make=make) for name, make in _FLOODS.items()},
    **{
        f"flood of {name}": partial(_flood_with_signals, make=signal)
        for name, signal in _SIGNALS.items()
    },
    "data for everybody": data_for_everybody,
    "more than a queue to one who reads": more_than_a_queue,
    "small frames that become large": small_frames_become_large,
    "small changes of large attributes": small_changes_of_large_attributes,
    "tiny frames by the hundred thousand": tiny_frames,
}
#: What costs too much to be played often.
HEAVY: Final = frozenset({"tiny frames by the hundred thousand", "small frames that become large"})
