"""Moves with data streams: too many, too large, never ended, and bombs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from livekit.protocol import models

from . import forging
from .play import Move, Play

_DEFAULT_MAX_STREAMS: Final = 1_000
#: Given the identity of a receiver and an id, the header of a stream that is to go on.
Begin = Callable[[Play, str, str], models.DataPacket]


def _text(play: Play, to: str, stream_id: str) -> models.DataPacket:
    return forging.header(
        to, stream_id=stream_id, topic=forging.TEXT_TOPIC, attributes={"by": play.me.identity}
    )


def _bytes(_play: Play, to: str, stream_id: str) -> models.DataPacket:
    byte_header = models.DataStream.ByteHeader(name="f")
    return forging.header(
        to, stream_id=stream_id, topic=forging.BYTES_TOPIC, byte_header=byte_header
    )


def _unwanted(_play: Play, to: str, stream_id: str) -> models.DataPacket:
    return forging.header(to, stream_id=stream_id, topic="nobody wants it")


def _request(_play: Play, to: str, stream_id: str) -> models.DataPacket:
    return forging.stream_request(to, stream_id, None, timeout_ms=3_000)


def _request_to_no_method(_play: Play, to: str, stream_id: str) -> models.DataPacket:
    return forging.stream_request(to, stream_id, None, method="no method")


def _response(_play: Play, to: str, stream_id: str) -> models.DataPacket:
    return forging.stream_response(to, stream_id, None)


_KINDS: Final[dict[str, Begin]] = {
    "texts": _text,
    "bytes": _bytes,
    "of no topic": _unwanted,
    "requests": _request,
    "requests to no method": _request_to_no_method,
    "responses": _response,
}


def _more_than_open(play: Play, to: str) -> int:
    profile = play.victim(lambda each: each.identity == to)
    return profile.limits.get("max_peer_streams", _DEFAULT_MAX_STREAMS) + 50


def _few_streams(play: Play) -> str:
    """Return the identity of a participant with whom a bound is near, if there is one."""
    return play.victim(lambda profile: "max_peer_streams" in profile.limits).identity


async def _headers(play: Play, begin: Begin) -> None:
    """Begin more streams than one may have open, and end none."""
    to = _few_streams(play)
    count = _more_than_open(play, to)
    await play.send(*(begin(play, to, play.new_id()) for _ in range(count)))


async def headers_with_large_attributes(play: Play) -> None:
    """Begin streams with as many attributes as a packet holds."""
    to = play.victim().identity
    for number, begin in enumerate((_text, _request, _response, _unwanted)):
        for _ in range(8):
            large = begin(play, to, play.new_id())
            attributes = large.stream_header.attributes
            if number % 2:
                attributes["large"] = "a" * 60_000
            else:
                for key in range(3_000):
                    attributes[f"{key}"] = "large"
            await play.send(large)


async def streams_that_never_end(play: Play) -> None:
    """Send a chunk now and then, so that nobody gives the streams up."""
    to = play.victim().identity
    streams = [(begin, play.new_id()) for begin in _KINDS.values() for _ in range(3)]
    await play.send(*(begin(play, to, stream_id) for begin, stream_id in streams))
    for index in range(4):
        await play.send(
            *(forging.chunk(to, stream_id=each, index=index, content=b"x") for _, each in streams)
        )
        await play.wait(0.7)


async def content_up_to_the_budget(play: Play) -> None:
    """Send as much content as may be held for one participant, and more."""
    to = play.victim(lambda profile: "max_peer_bytes" in profile.limits)
    budget = min(to.limits.get("max_peer_bytes", 2**21), 2**21)
    begin = play.random.choice((_request, _text, _bytes))
    piece = b"x" * 15_000
    for _ in range(1 + budget // 60_000):
        stream_id = play.new_id()
        await play.send(
            begin(play, to.identity, stream_id),
            *(
                forging.chunk(to.identity, stream_id=stream_id, index=index, content=piece)
                for index in range(5)
            ),
        )


async def gaps(play: Play) -> None:
    """Send chunks that are missing, come twice, or come before their header."""
    to = play.victim().identity
    for begin in _KINDS.values():
        for indexes in ((0, 2), (0, 0), (1,), (0, 1, 2**63)):
            stream_id = play.new_id()
            early = forging.chunk(to, stream_id=stream_id, index=0)
            await play.send(
                early,
                begin(play, to, stream_id),
                *(forging.chunk(to, stream_id=stream_id, index=index) for index in indexes),
                forging.trailer(to, stream_id=stream_id),
                forging.chunk(to, stream_id=stream_id, index=9),
            )


async def unknown_streams(play: Play) -> None:
    """Go on with streams that nobody has begun, and with those of others."""
    to = play.victim().identity
    known = [each.request_id for each in play.table.known_calls][-5:]
    for stream_id in ("unknown", "", *known):
        await play.send(
            forging.chunk(to, stream_id=stream_id, index=0),
            forging.trailer(to, stream_id=stream_id, reason="because"),
            forging.chunk(stream_id=stream_id, index=1),
            forging.trailer(stream_id=stream_id),
        )


async def headers_twice(play: Play) -> None:
    """Begin a stream again while it is open, as something else."""
    to, stream_id = play.victim().identity, play.new_id()
    kinds = list(_KINDS.values()) * 2
    play.random.shuffle(kinds)
    for index, begin in enumerate(kinds):
        await play.send(
            begin(play, to, stream_id), forging.chunk(to, stream_id=stream_id, index=index)
        )
    await play.send(forging.trailer(to, stream_id=stream_id))


async def wrong_lengths(play: Play) -> None:
    """Announce more or less than is sent."""
    to = play.victim().identity
    for announced in (0, 1, 10**6, 2**64 - 1):
        for begin in _KINDS.values():
            stream_id = play.new_id()
            wrong = begin(play, to, stream_id)
            wrong.stream_header.total_length = announced
            await play.send(
                wrong,
                forging.chunk(to, stream_id=stream_id, index=0, content=b"xxx"),
                forging.trailer(to, stream_id=stream_id),
            )


async def _bombs(play: Play, begin: Begin) -> None:
    """Send a few kilobytes that inflate to megabytes, in the header and in chunks."""
    to = play.victim().identity
    for mebibytes, announced in ((1, False), (16, False), (16, True)):
        for inline in (True, False):
            stream_id = play.new_id()
            bomb = begin(play, to, stream_id)
            bomb.stream_header.compression = forging.DEFLATE
            if announced:
                bomb.stream_header.total_length = mebibytes * 2**20
            if inline:
                bomb.stream_header.inline_content = forging.bomb(mebibytes)
                await play.send(bomb)
                continue
            content = forging.bomb(mebibytes)
            middle = len(content) // 2
            await play.send(
                bomb,
                forging.chunk(to, stream_id=stream_id, index=0, content=content[:middle]),
                forging.chunk(to, stream_id=stream_id, index=1, content=content[middle:]),
                *([forging.trailer(to, stream_id=stream_id)] if announced else []),
            )


async def bombs_by_the_dozen(play: Play) -> None:
    """Send one participant bombs that together inflate to more than may be held."""
    to = play.victim().identity
    bombs = []
    for _ in range(40):
        bomb = _request(play, to, play.new_id())
        bomb.stream_header.compression = forging.DEFLATE
        bomb.stream_header.inline_content = forging.bomb(4)
        bombs.append(bomb)
    await play.send_together(*bombs)


async def streams_for_everybody(play: Play) -> None:
    """Send a whole stream to nobody in particular, and one that names some in its header alone."""
    for named in ((), (play.victim().identity, play.victim().identity)):
        stream_id = play.new_id()
        await play.send(
            forging.header(
                *named,
                stream_id=stream_id,
                topic=forging.TEXT_TOPIC,
                attributes={"by": play.me.identity},
            ),
            *(
                forging.chunk(stream_id=stream_id, index=index, content=play.signed().encode())
                for index in range(10)
            ),
            forging.trailer(stream_id=stream_id),
        )


async def directed_streams(play: Play) -> None:
    """Have the server remember where streams go, of which there is no end."""
    to = [play.victim().identity, *(f"nobody {number}" for number in range(900))]
    for _ in range(30):
        header = forging.header(*to, stream_id=play.new_id(), topic="nobody wants it")
        await play.send(header)


MOVES: Final[dict[str, Move]] = {
    **{f"stream headers: {name}": partial(_headers, begin=begin) for name, begin in _KINDS.items()},
    **{f"bombs: {name}": partial(_bombs, begin=begin) for name, begin in _KINDS.items()},
    "bombs by the dozen": bombs_by_the_dozen,
    "stream headers of 60 kB": headers_with_large_attributes,
    "streams that never end": streams_that_never_end,
    "content up to the budget": content_up_to_the_budget,
    "chunks with gaps": gaps,
    "chunks and trailers of unknown streams": unknown_streams,
    "headers of streams that are open": headers_twice,
    "lengths that are not true": wrong_lengths,
    "streams for everybody": streams_for_everybody,
    "streams with 900 destinations": directed_streams,
}
HEAVY: Final = frozenset(
    {
        "bombs by the dozen",
        "stream headers of 60 kB",
        "streams with 900 destinations",
        *(name for name in MOVES if name.startswith(("bombs", "stream headers"))),
    }
)
