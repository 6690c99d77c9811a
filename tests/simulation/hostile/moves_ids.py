"""Moves with ids, numbers and stamps: repeated, odd, another participant's."""

from __future__ import annotations

from typing import Final

from attrs import evolve
from livekit.protocol import models

from . import forging
from .play import KnownCall, Move, Play


async def same_id_running(play: Play) -> None:
    """Send a request again while its handler runs."""
    callee, request_id = play.victim().identity, play.new_id()
    payload = play.payload(seconds=0.05)
    copies = play.random.randint(2, 5)
    await play.send_together(*(forging.request(callee, request_id, payload) for _ in range(copies)))
    await play.wait(0.02)
    await play.send(forging.request(callee, request_id, payload))
    await play.wait(1.0)
    if play.me.responses[request_id] == 1:
        play.reach("B1: a request whose id was running was ignored")


async def same_id_answered(play: Play) -> None:
    """Send a request again when it was answered, within its time."""
    callee, request_id = play.victim().identity, play.new_id()
    again = forging.request(callee, request_id, play.payload(), timeout_ms=9_000)
    await play.send(again)
    await play.wait(0.5)
    answered = play.me.responses[request_id] == 1
    await play.send(again, forging.stream_request(callee, request_id, play.payload().encode()))
    await play.wait(0.5)
    if answered and play.me.responses[request_id] == 1:
        play.reach("B1: a request whose id was answered was ignored")


async def same_id_by_both_transports(play: Play) -> None:
    """Send a request as a packet and as streams, inline and in chunks."""
    callee, request_id = play.victim().identity, play.new_id()
    payload = play.payload(seconds=0.05)
    await play.send_together(
        forging.request(callee, request_id, payload),
        forging.stream_request(callee, request_id, payload.encode(), stream_id="first"),
        forging.stream_request(callee, request_id, None, stream_id=request_id),
        forging.chunk(callee, stream_id=request_id, index=0, content=payload.encode()),
        forging.trailer(callee, stream_id=request_id),
        forging.cancellation(callee, request_id),
        forging.request(callee, request_id, payload),
    )


async def same_id_to_everybody(play: Play) -> None:
    """Send requests with one id to every honest participant."""
    request_id = play.new_id()
    await play.send_together(
        *(
            forging.request(each.identity, request_id, play.payload(seconds=0.01))
            for each in play.table.honest()
        )
    )


async def odd_ids(play: Play) -> None:
    """Send what has an id of no byte, of one too many, and of as many as a packet holds."""
    callee = play.victim().identity
    for length in (0, 129, 63_600):
        odd = "i" * length
        payload = play.payload().encode()
        await play.send(
            forging.request(callee, odd, play.payload() if length < 60_000 else ""),
            forging.cancellation(callee, odd),
            forging.ack(callee, odd),
            forging.response(callee, odd, play.signed()),
            forging.error_response(callee, odd, 1500, play.signed()),
        )
        if length < 20_000:
            await play.send(
                forging.stream_request(callee, odd, payload),
                forging.stream_request(callee, odd, None),
                forging.chunk(callee, stream_id=odd, index=0, content=payload),
                forging.trailer(callee, stream_id=odd),
            )
        else:
            await play.send(forging.stream_request(callee, odd, b"", stream_id="s"))


async def long_id_and_large_answer(play: Play) -> None:
    """Have an answer made that is too large for a packet together with its id."""
    callee = play.victim().identity
    for answer in (15_000, 0):
        long_id = f"{play.new_id()} ".ljust(55_000, "x")
        await play.send(
            forging.request(callee, long_id, play.payload(answer=answer)),
            forging.stream_request(
                callee, long_id[:50_000], play.payload(answer=answer).encode(), stream_id="s"
            ),
        )


async def odd_texts(play: Play) -> None:
    """Send ids, topics and keys that no log and no terminal takes well."""
    callee = play.victim().identity
    for odd in (
        "\x00",
        "\x1b[2J\x1b]0;pwned\x07",
        "\u202e\u2066",
        "a\r\nb",
        "%s%n{0}{x.y}",
        "\U0010ffff",
    ):
        await play.send(
            forging.request(callee, f"{odd}{play.new_id()}", play.payload(), method=odd),
            forging.stream_request(callee, f"{odd}{play.new_id()}", b"", method=odd),
            forging.header(
                callee,
                stream_id=odd,
                topic=forging.TEXT_TOPIC,
                content=play.signed().encode(),
                attributes={odd: odd},
            ),
            forging.user(play.signed().encode(), callee, topic=odd),
            forging.error_response(callee, odd, 1500, f"{odd}{play.signed()}", odd),
        )


async def forged_answers(play: Play) -> None:
    """Answer the calls of others, in all forms, as long as they wait."""
    known = list(play.table.known_calls)[-play.random.randint(5, 40) :]
    own = [call for call in known if call.callee == play.me.identity]
    for call in [each for each in known if each not in own]:
        forged = f"forged {play.signed()}"
        await play.send(
            forging.ack(call.caller, call.request_id),
            forging.response(call.caller, call.request_id, forged),
            forging.error_response(call.caller, call.request_id, 1502, forged),
            forging.stream_response(call.caller, call.request_id, forged.encode()),
            forging.stream_response(call.caller, call.request_id, None, stream_id="other"),
            forging.trailer(call.caller, stream_id=call.request_id),
            forging.chunk(call.caller, stream_id=call.request_id, index=0),
        )
    if len(known) > len(own):
        play.reach("C6: calls of others were answered while they were known")


async def stolen_ids(play: Play) -> None:
    """Call with the ids of calls that others have in flight, both their ends."""
    for call in list(play.table.known_calls)[-10:]:
        for end in (call.caller, call.callee):
            if end != play.me.identity:
                await play.send(
                    forging.request(end, call.request_id, play.payload(seconds=0.01)),
                    forging.stream_request(end, call.request_id, play.payload().encode()),
                    forging.cancellation(end, call.request_id),
                )


async def forged_stamps(play: Play) -> None:
    """Claim that packets come from another participant."""
    honest = play.victim()
    callee = play.victim(lambda each: each is not honest).identity
    forged = [
        forging.request(callee, play.new_id(), play.payload()),
        forging.user(
            play.signed().encode(), callee, participant_identity=honest.identity, topic="forged"
        ),
        forging.header(
            callee,
            stream_id=play.new_id(),
            topic=forging.TEXT_TOPIC,
            content=play.signed().encode(),
            attributes={"by": play.me.identity},
        ),
        forging.stream_request(callee, play.new_id(), play.payload().encode()),
        forging.cancellation(callee, _last_id(play, honest.identity)),
        forging.ack(callee, _last_id(play, callee)),
        forging.response(callee, _last_id(play, callee), play.signed()),
    ]
    for each in forged:
        each.participant_identity = honest.identity
        each.participant_sid = play.random.choice(("", "PA_0000000000000000", play.me.sid))
        # Several times over: protobuf takes the last, and merges messages.
        stamp = models.DataPacket(participant_identity=honest.identity).SerializeToString()
        await play.me.send(models.DataPacket.FromString(each.SerializeToString() + stamp))


def _last_id(play: Play, caller: str) -> str:
    calls: list[KnownCall] = [each for each in play.table.known_calls if each.caller == caller]
    return calls[-1].request_id if calls else "unknown"


async def repeated_numbers(play: Play) -> None:
    """Send several packets with one number: only the first counts."""
    callee = play.victim().identity
    ids = [play.new_id() for _ in range(5)]
    first, *others = (forging.request(callee, each, play.payload()) for each in ids)
    play.me.numbered(first)
    for each in others:
        each.sequence = first.sequence
    await play.me.send(first, *others)
    await play.wait(0.5)
    if [play.me.acks[each] for each in ids] == [1, 0, 0, 0, 0]:
        play.reach("P6: packets with a number that came before were ignored")


async def odd_numbers(play: Play) -> None:
    """Send packets without a number, backwards, and with the largest number there is."""
    callee = play.victim().identity
    for sequence in (0, 0, 5, 4, 3, 2, 1, 3_000, 1, 2_900, 2**31, 2**32 - 1, 2**32 - 2, 7):
        packet = forging.request(callee, play.new_id(), play.payload())
        packet.sequence = sequence
        await play.me.send(packet)
    # What is numbered from here on is older than the window: it joins again for a new one.
    play.me.stop_numbering()


async def same_id_from_several(play: Play) -> None:
    """Have all adversaries call one participant with the same id."""
    callee, request_id = play.victim().identity, play.new_id()
    for member in play.table.members():
        theirs = evolve(play, me=member)
        await member.send(forging.request(callee, request_id, theirs.payload(seconds=0.02)))
        await member.send(forging.cancellation(callee, request_id))


MOVES: Final[dict[str, Move]] = {
    "same id while it runs": same_id_running,
    "same id after the answer": same_id_answered,
    "same id by both transports": same_id_by_both_transports,
    "same id to everybody": same_id_to_everybody,
    "same id from several": same_id_from_several,
    "ids of 0, 129 and 63,600 bytes": odd_ids,
    "ids of 55,000 bytes with large answers": long_id_and_large_answer,
    "odd texts everywhere": odd_texts,
    "answers to the calls of others": forged_answers,
    "ids of the calls of others": stolen_ids,
    "stamps of others": forged_stamps,
    "a number again and again": repeated_numbers,
    "numbers 0, backwards and huge": odd_numbers,
}
