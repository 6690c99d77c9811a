"""Handlers that do what handlers should not, called by several participants at once."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from trio_rpc import Room, RoomStatistics, RpcError, RpcInvocationData

from ..conftest import Join
from ..support.waiting import wait_until

pytestmark = pytest.mark.anyio

CALLERS = ("alice", "carol", "dave", "erin")
ErrorCode = RpcError.ErrorCode
Outcome = str | tuple[int, str | None]


def misbehaving_room(release: threading.Event) -> Room:
    """Return a room whose blocking handler blocks until `release` is set."""
    room = Room()

    @room.register_rpc_method("raise")
    async def _raise(_data: RpcInvocationData) -> str:
        raise ZeroDivisionError("a secret of the callee")

    @room.register_rpc_method("refuse")
    async def _refuse(data: RpcInvocationData) -> str:
        raise RpcError(42, "refused", data.caller_identity)

    @room.register_rpc_method("block")
    def _block(_data: RpcInvocationData) -> str:
        release.wait()
        return "too late"

    @room.register_rpc_method("hang")
    async def _hang(_data: RpcInvocationData) -> str:
        await anyio.sleep_forever()
        raise AssertionError

    @room.register_rpc_method("int")
    async def _int(_data: RpcInvocationData) -> str:
        return 42  # type: ignore[return-value]

    @room.register_rpc_method("large")
    async def _large(_data: RpcInvocationData) -> str:
        return "x" * 20_000

    @room.register_rpc_method("behave")
    async def _behave(data: RpcInvocationData) -> str:
        return f"{data.caller_identity}: {data.payload}"

    return room


def expected_outcomes(caller: str) -> dict[str, Outcome]:
    failed = "the handler of '{}' failed; its own log says why"
    too_large = "the response of 'large' has 20,000 bytes, over the limit of 15,360"
    return {
        "raise": (ErrorCode.APPLICATION_ERROR, failed.format("raise")),
        "refuse": (42, caller),
        "block": (ErrorCode.RESPONSE_TIMEOUT, None),
        "hang": (ErrorCode.RESPONSE_TIMEOUT, None),
        "int": (ErrorCode.APPLICATION_ERROR, failed.format("int")),
        "large": (ErrorCode.RESPONSE_PAYLOAD_TOO_LARGE, too_large),
        "behave": f"{caller}: hello",
    }


async def outcome_of(room: Room, method: str) -> Outcome:
    timeout = 3.0 if method in {"block", "hang"} else 60.0
    try:
        return await room.local_participant.perform_rpc(
            destination_identity="bob", method=method, payload="hello", response_timeout=timeout
        )
    except RpcError as error:
        # Whose clock was first shows in the data of a timeout.
        timed_out = error.code == ErrorCode.RESPONSE_TIMEOUT
        return error.code, None if timed_out else error.data


async def outcomes_of(room: Room) -> dict[str, Outcome]:
    """Call all methods at once."""
    caller = room.local_participant.identity
    outcomes: dict[str, Outcome] = {}

    async def call(method: str) -> None:
        outcomes[method] = await outcome_of(room, method)

    async with anyio.create_task_group() as task_group:
        for method in sorted(expected_outcomes(caller)):
            task_group.start_soon(call, method)
    # Nobody waited for the handlers that block.
    assert {*list(outcomes)[-2:]} == {"block", "hang"}
    return outcomes


@asynccontextmanager
async def callers(join: Join, url: str) -> AsyncIterator[list[Room]]:
    async with (
        join(CALLERS[0], to=url) as alice,
        join(CALLERS[1], to=url) as carol,
        join(CALLERS[2], to=url) as dave,
        join(CALLERS[3], to=url) as erin,
    ):
        yield [alice, carol, dave, erin]


@pytest.mark.real_time
@pytest.mark.rule("A4", "A5", "A6", "A7", "A8", "A9", "A10", "C5")
async def test_each_caller_gets_what_the_rules_say_whatever_handlers_do(
    join: Join, url: str
) -> None:
    release = threading.Event()
    outcomes: dict[str, dict[str, Outcome]] = {}

    async def call_all(room: Room) -> None:
        outcomes[room.local_participant.identity] = await outcomes_of(room)

    try:
        async with (
            join("bob", room=misbehaving_room(release), to=url) as bob,
            callers(join, url) as rooms,
        ):
            async with anyio.create_task_group() as task_group:
                for room in rooms:
                    task_group.start_soon(call_all, room)
            assert {room.statistics() for room in rooms} == {RoomStatistics(0, 0)}
            await wait_until(lambda: bob.statistics() == RoomStatistics(0, 0))
            assert await outcome_of(rooms[0], "behave") == "alice: hello"
    finally:
        release.set()
    assert outcomes == {caller: expected_outcomes(caller) for caller in CALLERS}
