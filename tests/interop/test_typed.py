"""Typed calls with LiveKit's SDKs at the other end: what travels is JSON in calls of strings."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import anyio
import attrs
import pytest

from trio_rpc import InvalidArguments, Room, RpcError

from ..support.waiting import wait_until
from .conftest import Cast
from .program import Failure, Peer

TIMED_OUT: Final = RpcError.ErrorCode.RESPONSE_TIMEOUT
FAILED: Final = RpcError.ErrorCode.APPLICATION_ERROR
INVALID_RESPONSE: Final = 7423
KINDS = ("python", "node", "browser")


@attrs.frozen
class Order:
    vegetable: str
    length_mm: int


class TheirMethods(Protocol):
    """The methods of all programs, as a contract describes them."""

    async def echo(self, order: Order) -> dict[str, Order]: ...
    async def fail(self) -> None: ...


@attrs.frozen
class Stream:
    """A stream besides the answer, as the method `stream` of a program writes it."""

    topic: str
    writes: list[str]
    times: int = 1
    ends: bool = True


class TheirStreams(Protocol):
    """The method `stream` of the programs in JavaScript."""

    def stream(self, streams: list[Stream], answer: str | None) -> AsyncIterator[float]: ...


class TheirProgress(Protocol):
    """The same method, without a stream of items."""

    async def stream(self, streams: list[Stream], answer: str | None) -> str: ...


async def cut(order: Order, times: int = 1) -> list[int]:
    return [order.length_mm] * times


async def watch(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def call_both_ways(room: Room, peer: Peer) -> None:
    order = Order("carrot", 150)
    assert await room.call(TheirMethods.echo, peer.identity, order) == {"order": order}
    outcome = await room.try_call(TheirMethods.fail, peer.identity)
    assert isinstance(outcome.error, RpcError)
    assert (outcome.error.code, outcome.error.data) == (4321, '{"left": 0}')

    async def call(method: str, payload: str) -> str | Failure:
        us = room.local_participant.identity
        return await anyio.to_thread.run_sync(peer.call, us, method, payload)

    payload = json.dumps({"order": attrs.asdict(order), "times": 2})
    assert await call("cut", payload) == "[150,150]"
    assert await call("watch", '{"count": 3}') == "[0,1,2]"
    refusal = await call("cut", '{"order": {"vegetable": "leek", "length_mm": "long"}}')
    assert isinstance(refusal, Failure)
    assert refusal.code == 7422
    error = InvalidArguments.of(RpcError(refusal.code, refusal.message, refusal.data))
    assert (error.method, error.path) == ("cut", "$.order.length_mm")
    discovered = await call("rpc.discover", "")
    assert isinstance(discovered, str)
    assert [each["name"] for each in json.loads(discovered)["methods"]] == ["cut", "watch"]


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("kind", KINDS)
def test_typed_calls_both_ways(cast: Cast, kind: str, backend: str) -> None:
    peer = cast.peer(kind, "with types")
    url, token = cast.admission(f"types on {backend} for {kind}")

    async def main() -> None:
        room = Room()
        room.method(cut)
        room.method(watch)
        async with room.connect(url, token):
            await room.wait_for_participant(peer.identity)
            us = room.local_participant.identity
            await anyio.to_thread.run_sync(lambda: peer.wait_for("sees", who=us))
            await call_both_ways(room, peer)

    anyio.run(main, backend=backend)


# Streams


def items(*writes: str, ends: bool = True, times: int = 1) -> Stream:
    return Stream("items", [*writes], times, ends)


ENDINGS: Final[dict[str, tuple[list[Stream], str | None, list[float], int | None]]] = {
    "well": ([items("1.5\n2.", "5\n")], "null", [1.5, 2.5], None),
    "in a list": ([], "[1.5]", [1.5], None),
    "with items after the end": ([items("1.5\n"), items("9.5\n")], "null", [1.5], None),
    "without the end of the items": ([items("1.5\n", ends=False)], "null", [1.5], TIMED_OUT),
    "never": ([items("1.5\n", ends=False)], None, [1.5], TIMED_OUT),
    "with no JSON": ([items("1.5\nno JSON\n")], "null", [1.5], INVALID_RESPONSE),
    "with another type": ([items('1.5\n"2.5"\n')], "null", [1.5], INVALID_RESPONSE),
    "in the middle of a line": ([items("1.5\n2.5")], "null", [1.5], FAILED),
    "with too much": ([items("1.5\n" * 1_000, times=400)], "null", [], FAILED),
}


@asynccontextmanager
async def room_with(cast: Cast, peer: Peer, identity: str) -> AsyncIterator[Room]:
    """Join the room of a peer, and wait until both see each other."""
    url, token = cast.admission(identity)
    async with Room(max_stream_bytes=1_000_000).connect(url, token) as room:
        await room.wait_for_participant(peer.identity)
        await anyio.to_thread.run_sync(lambda: peer.wait_for("sees", who=identity))
        yield room


async def take(room: Room, identity: str, streams: list[Stream], answer: str | None) -> Any:
    """Return the items of a stream, and the code of the error after them."""
    got: list[float] = []
    is_endless = answer is None or any(not each.ends for each in streams)
    try:
        async with room.stream(
            TheirStreams.stream, identity, streams, answer, timeout=3 if is_endless else 60
        ) as stream:
            if any(each.times > 1 for each in streams):
                # A reader that does not read.
                await wait_until(lambda: room.statistics().pending_calls)
                await wait_until(lambda: not room.statistics().pending_calls)
            async for item in stream:
                got.append(item)  # noqa: PERF401
    except RpcError as error:
        return got, error.code
    return got, None


@pytest.mark.rule("T8", "T15")
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", ["node", "browser"])
def test_streams_end(cast: Cast, kind: str, ending: str) -> None:
    peer = cast.peer(kind, "with streams")
    streams, answer, expected, code = ENDINGS[ending]

    async def main() -> None:
        async with room_with(cast, peer, f"takes from {kind} {ending}") as room:
            got, raised = await take(room, peer.identity, streams, answer)
            assert raised == code
            assert got[: len(expected)] == expected
            assert code == FAILED or got == expected
            assert room.statistics().pending_calls == 0
            # The room goes on.
            assert await take(room, peer.identity, *ENDINGS["well"][:2]) == ([1.5, 2.5], None)

    anyio.run(main, backend="trio")


@pytest.mark.rule("T9", "T15")
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("kind", ["node", "browser"])
def test_wrong_progress_is_ignored(cast: Cast, kind: str, backend: str) -> None:
    peer = cast.peer(kind, "with progress")
    lines = ['{"progress": 0.5}', '{"progress": 1.5}', '{"progress": 0.4}']
    lines += ['{"progress": 0.6, "message": "x"}', "no JSON", '{"progress": 0.7}']
    streams = [Stream("progress", [f"{each}\n" for each in lines])]
    reports: list[tuple[float, str]] = []

    async def main() -> None:
        async with room_with(cast, peer, f"hears {kind} on {backend}") as room:
            caller = room.with_options(on_progress=lambda *report: reports.append(report))
            answer = await caller.call(TheirProgress.stream, peer.identity, streams, '"bread"')
            assert answer == "bread"

    anyio.run(main, backend=backend)
    assert reports == [(0.5, ""), (0.6, "x")]
