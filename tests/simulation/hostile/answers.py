"""The answers of adversaries to the calls of honest participants.

Whatever text they send has their signature, so that an answer that reaches a call of somebody else
is known as theirs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

import anyio
from attrs import define
from livekit.protocol import models

from ..hostile_causes import signature
from . import forging
from .member import HostileMember
from .play import KnownCall, Table


@define
class Question:
    """A call that an adversary is to answer.

    Attributes:
        timeout: Seconds that the caller gives it.
    """

    me: HostileMember
    table: Table
    random: Random
    caller: str
    request_id: str
    timeout: float

    @property
    def text(self) -> str:
        """An answer with the signature of its sender."""
        return f"an answer {signature(self.me.identity)}"

    async def send(self, *packets: models.DataPacket) -> None:
        """Send packets one by one, each with its number."""
        await self.me.send(*map(self.me.numbered, packets))

    def ack(self) -> models.DataPacket:
        """Return the ack."""
        return forging.ack(self.caller, self.request_id)

    def response(self, text: str = "") -> models.DataPacket:
        """Return a response of version 1."""
        return forging.response(self.caller, self.request_id, text or self.text)

    def error(self, code: int, data: str = "") -> models.DataPacket:
        """Return a response that is an error."""
        return forging.error_response(self.caller, self.request_id, code, self.text, data)

    def stream(self, content: bytes | None, **fields: object) -> models.DataPacket:
        """Return a response of version 2, or its header."""
        return forging.stream_response(self.caller, self.request_id, content, **fields)

    def chunk(self, index: int, content: bytes, stream_id: str = "") -> models.DataPacket:
        """Return a chunk of a response of version 2."""
        return forging.chunk(
            self.caller, stream_id=stream_id or self.request_id, index=index, content=content
        )

    def trailer(self, reason: str = "", stream_id: str = "") -> models.DataPacket:
        """Return the trailer of a response of version 2."""
        return forging.trailer(self.caller, stream_id=stream_id or self.request_id, reason=reason)


async def properly(question: Question) -> None:
    """Answer as one should."""
    await question.send(question.ack(), question.response())


async def by_stream(question: Question) -> None:
    """Answer as one should, by version 2."""
    content = question.text.encode()
    await question.send(question.ack(), question.stream(None, total_length=len(content)))
    await question.send(question.chunk(0, content), question.trailer())


async def nothing(question: Question) -> None:
    """Neither acknowledge nor answer."""


async def ack_alone(question: Question) -> None:
    """Acknowledge, several times, and never answer."""
    await question.send(*[question.ack()] * 3)


async def response_alone(question: Question) -> None:
    """Answer without an ack, which follows."""
    await question.send(question.response(), question.ack(), question.ack())


async def twice(question: Question) -> None:
    """Answer again and again, each time otherwise."""
    await question.send(
        question.ack(),
        question.response(f"first {question.text}"),
        question.response(f"second {question.text}"),
        question.error(3, "third"),
        question.stream(f"fourth {question.text}".encode()),
    )


async def late(question: Question) -> None:
    """Answer when the time is over, and when it just is."""
    await question.send(question.ack())
    await anyio.sleep(min(question.timeout, 8.0) + question.random.choice((0, 0.001, 0.1)))
    await question.send(question.response(), question.stream(question.text.encode()))


async def late_ack(question: Question) -> None:
    """Answer at once, and acknowledge after seconds."""
    await anyio.sleep(question.random.choice((1.0, 7.0)))
    await question.send(question.ack())
    await anyio.sleep(0.01)
    await question.send(question.response())


async def others_calls(question: Question) -> None:
    """Answer the calls of others in place of this one."""
    known: list[KnownCall] = list(question.table.known_calls)[-10:]
    for call in known:
        if call.callee != question.me.identity:
            await question.send(
                forging.ack(call.caller, call.request_id),
                forging.response(call.caller, call.request_id, question.text),
            )
            # Also to our caller, with the id of another participant's call
            await question.send(
                forging.ack(question.caller, call.request_id),
                forging.response(question.caller, call.request_id, question.text),
            )


async def to_everybody(question: Question) -> None:
    """Send the answer to everybody, in packets that are for one."""
    for profile in question.table.honest():
        await question.send(
            forging.ack(profile.identity, question.request_id),
            forging.response(profile.identity, question.request_id, question.text),
            forging.stream_response(profile.identity, question.request_id, question.text.encode()),
        )


async def by_a_friend(question: Question) -> None:
    """Have another adversary answer."""
    for member in question.table.members():
        if member is not question.me:
            await member.send(
                question.ack(),
                question.response(f"a friend's answer {signature(member.identity)}"),
                question.stream(f"a friend's stream {signature(member.identity)}".encode()),
            )


async def odd_errors(question: Question) -> None:
    """Answer with errors of every code and size."""
    code = question.random.choice((0, 1, 200, 1001, 1400, 1401, 1500, 1501, 1502, 1503, 2**32 - 1))
    await question.send(question.ack())
    if question.random.random() < 0.5:
        await question.send(question.error(code, "d" * question.random.choice((0, 60_000))))
    else:
        text = question.text.ljust(question.random.choice((0, 60_000)), "m")
        await question.send(
            forging.error_response(question.caller, question.request_id, code, text)
        )


async def empty_response(question: Question) -> None:
    """Answer without a value, and with something that is neither payload nor error."""
    empty = models.RpcResponse(request_id=question.request_id)
    unknown = models.RpcResponse.FromString(empty.SerializeToString() + b"\xc2\x0c\x03abc")
    await question.send(
        forging.packet(question.caller, rpc_response=empty),
        question.ack(),
        forging.packet(question.caller, rpc_response=unknown),
    )


async def stream_without_end(question: Question) -> None:
    """Begin an answer, and go on with it until long after the call."""
    await question.send(question.ack(), question.stream(None))
    for index in range(5):
        await question.send(question.chunk(index, question.text.encode()))
        await anyio.sleep(question.random.choice((0.1, 3.0)))


async def not_utf8(question: Question) -> None:
    """Answer with what is no text."""
    content = question.text.encode() + question.random.choice((b"\xff", b"\xc3", b"\xed\xa0\x80"))
    await question.send(question.ack())
    if question.random.random() < 0.5:
        await question.send(question.stream(content))
    else:
        header = question.stream(None, total_length=len(content))
        await question.send(header, question.chunk(0, content), question.trailer())


async def bomb(question: Question) -> None:
    """Answer with a few kilobytes that inflate to megabytes."""
    large, small = (forging.bomb(mebibytes, question.text) for mebibytes in (16, 4))
    await question.send(
        question.ack(),
        question.stream(large, compression=forging.DEFLATE, stream_id="bomb"),
        question.stream(None, compression=forging.DEFLATE),
        question.chunk(0, small),
    )


async def many_streams(question: Question) -> None:
    """Answer with one stream beside the other, each of which grows."""
    count = question.random.choice((20, 60))
    ids = [f"{question.request_id} {number}" for number in range(count)]
    small_bomb = forging.bomb(1, question.text)
    await question.send(
        question.ack(),
        *(question.stream(None, stream_id=each, compression=forging.DEFLATE) for each in ids),
        *(question.chunk(0, small_bomb, each) for each in ids),
    )


async def no_header(question: Question) -> None:
    """Send chunks and a trailer, but no header, or that last."""
    content = question.text.encode()
    await question.send(
        question.ack(), question.trailer(), question.chunk(0, content), question.trailer()
    )
    if question.random.random() < 0.5:
        await question.send(question.stream(None, total_length=len(content)))


async def gaps(question: Question) -> None:
    """Send an answer with something missing, or that is given up."""
    content = question.text.encode()
    await question.send(question.ack(), question.stream(None, total_length=len(content) * 2))
    await question.send(*question.random.choice((
        [question.chunk(1, content)],
        [question.chunk(0, content), question.chunk(0, content)],
        [question.chunk(0, content), question.trailer()],
        [question.chunk(0, content * 3)],
        [question.trailer("no more of it")],
    )))  # fmt: skip


async def odd_compression(question: Question) -> None:
    """Answer in a compression that there is not."""
    await question.send(question.ack(), question.stream(question.text.encode(), compression=42))


async def calls_back(question: Question) -> None:
    """Call the caller with the id of its own call, and give that up."""
    call = forging.request(question.caller, question.request_id, "{}")
    await question.send(
        question.ack(),
        call,
        forging.stream_request(question.caller, question.request_id, b"{}"),
        forging.cancellation(question.caller, question.request_id),
        question.response(),
    )


async def vanishes(question: Question) -> None:
    """Acknowledge, begin an answer, and be gone."""
    await question.send(question.ack(), question.stream(None))
    await question.me.stream.aclose("")


async def large(question: Question) -> None:
    """Answer with as much as a packet holds, or as many chunks."""
    text = question.text.ljust(question.random.choice((15_361, 60_000)), "l")
    await question.send(question.ack())
    if question.random.random() < 0.5:
        await question.send(question.response(text))
        return
    piece = text.encode()[:15_000]
    await question.send(question.stream(None, total_length=12 * len(piece)))
    for index in range(12):
        await question.send(question.chunk(index, piece))
    await question.send(question.trailer())


Answer = Callable[[Question], Awaitable[None]]

ANSWERS: Final[dict[str, tuple[int, Answer]]] = {
    "as one should": (12, properly),
    "as one should, by stream": (6, by_stream),
    "nothing": (2, nothing),
    "acks alone": (2, ack_alone),
    "a response before its ack": (3, response_alone),
    "several times": (4, twice),
    "late": (2, late),
    "late, and acknowledged later": (2, late_ack),
    "the calls of others": (4, others_calls),
    "everybody": (3, to_everybody),
    "through a friend": (3, by_a_friend),
    "errors of any code": (4, odd_errors),
    "without a value": (2, empty_response),
    "a stream without end": (2, stream_without_end),
    "not UTF-8": (4, not_utf8),
    "a bomb": (1, bomb),
    "many streams": (1, many_streams),
    "chunks without a header": (3, no_header),
    "a stream with gaps": (4, gaps),
    "an unknown compression": (3, odd_compression),
    "a call with the same id": (4, calls_back),
    "vanishing": (1, vanishes),
    "more than a response may have": (3, large),
}
