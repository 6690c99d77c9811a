"""Moves with requests and cancellations."""

from __future__ import annotations

from typing import Final

from livekit.protocol import models

from . import forging
from .play import Move, Play

_DEFAULT_MAX_WAITING: Final = 10_000


def _more_than_wait(play: Play, callee: str) -> int:
    """Return how many requests are more than may wait, or enough where that is very many."""
    profile = play.victim(lambda each: each.identity == callee)
    if profile.max_concurrent_handlers >= 1000:
        return 300
    limit = profile.limits.get("max_waiting_requests", _DEFAULT_MAX_WAITING)
    return profile.max_concurrent_handlers + min(limit, 300) + 30


async def waiting_for_49_days(play: Play) -> None:
    """Have requests wait for handlers with all the time that a request can carry."""
    callee = play.narrow().identity
    payload = play.payload(seconds=0.02)
    for _ in range(_more_than_wait(play, callee)):
        await play.send(
            forging.request(callee, play.new_id(), payload, timeout_ms=forging.MAX_TIMEOUT_MS)
        )


async def large_requests_that_wait(play: Play) -> None:
    """Have requests wait whose payloads are as large as may be."""
    callee = play.narrow().identity
    payload = play.payload(seconds=0.02).ljust(15_000)
    for _ in range(play.random.choice((80, 150))):
        await play.send(
            forging.request(callee, play.new_id(), payload, timeout_ms=forging.MAX_TIMEOUT_MS)
        )


async def cancel_newest_first(play: Play) -> None:
    """Have requests wait, and give them up from the end of the line."""
    callee = play.narrow().identity
    ids = [play.new_id() for _ in range(_more_than_wait(play, callee))]
    payload = play.payload(seconds=0.05)
    await play.send(
        *(forging.request(callee, each, payload, timeout_ms=forging.MAX_TIMEOUT_MS) for each in ids)
    )
    await play.wait(0.01)
    await play.send_together(*(forging.cancellation(callee, each) for each in reversed(ids)))


async def cancel_in_the_same_message(play: Play) -> None:
    """Give up requests in the message that they come in: no handler runs to its end."""
    callee = play.victim(lambda profile: profile.is_direct).identity
    packets = []
    ids = [play.new_id() for _ in range(10)]
    payload = play.payload(seconds=0.3, cancelled=True)
    for request_id in ids:
        packets += [
            forging.request(callee, request_id, payload),
            forging.cancellation(callee, request_id),
        ]
    streamed = [play.new_id() for _ in range(5)]
    for request_id in streamed:
        packets += [
            forging.stream_request(callee, request_id, payload.encode()),
            forging.cancellation(callee, request_id),
        ]
    await play.send_together(*packets)
    await play.wait(0.2)
    if all(play.me.responses[each] == 1 for each in (*ids, *streamed)):
        play.reach("B5: cancellations in the message of their requests counted")


async def cancel_again_and_again(play: Play) -> None:
    """Give up one request many times over, before it comes and after it was answered too."""
    callee, request_id = play.victim().identity, play.new_id()
    cancellation = forging.cancellation(callee, request_id)
    request = forging.request(callee, request_id, play.payload(seconds=0.1))
    await play.me.send_together([cancellation] * 50)
    await play.me.send_together([request, *[cancellation] * 200])
    await play.wait(0.5)
    await play.me.send_together([cancellation] * 50)


async def cancel_the_calls_of_others(play: Play) -> None:
    """Give up calls that others have made, at both ends."""
    for call in list(play.table.known_calls)[-30:]:
        await play.send(
            forging.cancellation(call.callee, call.request_id),
            forging.cancellation(call.caller, call.request_id),
        )


async def call_and_give_up(play: Play) -> None:
    """Do nothing but call and give up."""
    callee = play.victim().identity
    for _ in range(play.random.choice((30, 100))):
        request_id = play.new_id()
        await play.send(
            forging.request(callee, request_id, play.payload(seconds=0.5)),
            forging.cancellation(callee, request_id),
        )


async def odd_requests(play: Play) -> None:
    """Ask for odd versions, methods and timeouts."""
    callee = play.victim().identity
    for version in (0, 2, 2**32 - 1):
        await play.send(forging.request(callee, play.new_id(), play.payload(), version=version))
    for method in ("", "m" * 65, "m" * 40_000, "lk.rpc_request", "__class__"):
        await play.send(forging.request(callee, play.new_id(), "x", method=method))
    for timeout_ms in (0, 1, forging.MAX_TIMEOUT_MS):
        await play.send(
            forging.request(callee, play.new_id(), play.payload(), timeout_ms=timeout_ms),
            forging.stream_request(
                callee, play.new_id(), play.payload().encode(), timeout_ms=timeout_ms
            ),
        )
    for odd in ("", "-1", "1e3", " 5", "99999999999", "\u0665"):
        await play.send(forging.stream_request(callee, play.new_id(), b"x", timeout_ms=odd))


async def odd_payloads(play: Play) -> None:
    """Call with payloads that are nothing, no JSON, or larger than payloads are."""
    callee = play.victim().identity
    for payload in ("", "{", "[" * 5_000, "\x00" * 1_000, "p" * 60_000):
        await play.send(forging.request(callee, play.new_id(), payload))
        if len(payload) < 50_000:
            await play.send(forging.stream_request(callee, play.new_id(), payload.encode()))


async def unread_answers(play: Play) -> None:
    """Ask for answers as large as a packet holds, and do not read them for a while."""
    callee = play.victim().identity
    payload = play.payload(answer=15_000)
    await _ask_and_do_not_read(play, [forging.request(callee, "", payload)] * 150)


async def unread_streams(play: Play) -> None:
    """Ask for answers that come in chunks, and do not read them for a while."""
    # Real links keep the order: a chunk before its header counts as data, not as an answer (B8).
    callee = play.victim(lambda each: each.speaks_v2 and not each.faults.reorder).identity
    payload = play.payload(answer=40_000).encode()
    await _ask_and_do_not_read(play, [forging.stream_request(callee, "", payload)] * 60)


async def _ask_and_do_not_read(play: Play, requests: list[models.DataPacket]) -> None:
    play.me.stop_reading()
    for packet in requests:
        request_id = play.new_id()
        if packet.HasField("rpc_request"):
            packet.rpc_request.id = request_id
        else:
            packet.stream_header.stream_id = request_id
            packet.stream_header.attributes["lk.rpc_request_id"] = request_id
        await play.send(packet)
    await play.wait(play.random.choice((0.5, 2.0)))
    play.me.read_on()


MOVES: Final[dict[str, Move]] = {
    "requests that wait for 49 days": waiting_for_49_days,
    "large requests that wait": large_requests_that_wait,
    "cancellations, newest first": cancel_newest_first,
    "cancellations in the message of their requests": cancel_in_the_same_message,
    "cancellations again and again": cancel_again_and_again,
    "cancellations of the calls of others": cancel_the_calls_of_others,
    "calls that are given up": call_and_give_up,
    "odd versions, methods and timeouts": odd_requests,
    "odd payloads": odd_payloads,
    "large answers that are not read": unread_answers,
    "streamed answers that are not read": unread_streams,
}
HEAVY: Final = frozenset(
    {
        "requests that wait for 49 days",
        "large requests that wait",
        "cancellations, newest first",
        "large answers that are not read",
        "streamed answers that are not read",
    }
)
