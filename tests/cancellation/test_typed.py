"""Typed calls that are cancelled at each step: handlers end, and nothing is left."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import anyio
import pytest

from trio_rpc import CallContext, Retry, Room, RpcError, TextStreamReader

from ..conftest import Join
from .injection import Moment, Whose, cancel_at_each_step, every_moment
from .rooms import at_rest, call, echo

pytestmark = pytest.mark.anyio


class Kitchen(Protocol):
    async def bake(self, minutes: int) -> str: ...
    async def busy(self) -> str: ...
    def watch(self, count: int) -> AsyncIterator[str]: ...


class Service:
    """A kitchen that knows how many of its methods run."""

    def __init__(self) -> None:
        self.running = 0
        self.calls = 0

    async def bake(self, minutes: int, context: CallContext) -> str:
        self.running += 1
        try:
            for minute in range(minutes):
                await context.progress(minute / minutes)
                await anyio.lowlevel.checkpoint()
        finally:
            self.running -= 1
        return "bread"

    async def busy(self) -> str:
        self.calls += 1
        if self.calls % 3:
            raise RpcError(9001, "busy")
        return "done"

    async def watch(self, count: int) -> AsyncIterator[str]:
        self.running += 1
        try:
            for _ in range(count):
                yield "x" * 1_000
        finally:
            self.running -= 1


Subject = Callable[[Room], Awaitable[object]]


async def stream(alice: Room) -> None:
    async with alice.stream(Kitchen.watch, "bob", 8) as items:
        async for _ in items:
            await anyio.lowlevel.checkpoint()


async def stream_by_arguments(alice: Room) -> None:
    """Ask for items as a browser page does, and take half of them."""
    us = alice.local_participant
    call_stream: dict[str, Any] = {
        "topic": "trio_rpc.taken",
        "destination_identities": ["bob"],
        "attributes": {"lk.rpc_request_id": "S1"},
    }

    async def take(reader: TextStreamReader, sender: str) -> None:
        await anext(reader)
        async with us.stream_text(**call_stream) as confirmations:
            await confirmations.write("1003\n")

    arguments = {"count": 8, "trio_rpc.accepts": "items window=2000", "trio_rpc.request_id": "S1"}
    alice.register_text_stream_handler("trio_rpc.items", take)
    try:
        await us.perform_rpc(
            destination_identity="bob", method="watch", payload=json.dumps(arguments)
        )
    except RpcError as error:
        assert error.code == RpcError.ErrorCode.RESPONSE_TIMEOUT  # noqa: PT017
    finally:
        alice.unregister_text_stream_handler("trio_rpc.items")


async def progress(alice: Room) -> None:
    caller = alice.with_options(on_progress=lambda *_: None)
    assert await caller.call(Kitchen.bake, "bob", 3) == "bread"


async def call_many(alice: Room) -> None:
    async with alice.call_many(Kitchen.bake, [2]) as answers:
        async for _, outcome in answers:
            assert outcome.ok


async def retry(alice: Room) -> None:
    caller = alice.with_options(retry=Retry(on=[9001], backoff=0.01), timeout=5)
    await caller.try_call(Kitchen.busy, "bob")


async def wait_for_method(alice: Room) -> None:
    await alice.wait_for_method("bob", "bake")


@every_moment
@pytest.mark.rule("T4", "T6", "T7", "T8", "T9", "T15")
@pytest.mark.parametrize(
    "subject", [stream, stream_by_arguments, progress, call_many, retry, wait_for_method]
)
async def test_a_typed_call_that_is_cancelled_leaves_nothing(
    join: Join, subject: Subject, moment: Moment, whose: Whose
) -> None:
    service = Service()
    alice = Room(max_stream_bytes=16_000)
    async with join("bob") as bob, join("alice", room=alice):
        bob.register_rpc_method("echo", echo)
        bob.serve(service)

        async def check() -> None:
            assert await call(alice) == "hi"
            await at_rest(alice, bob)
            await anyio.wait_all_tasks_blocked()
            assert service.running == 0

        steps = await cancel_at_each_step(lambda: subject(alice), check, moment=moment, whose=whose)
        assert steps >= 2
