"""Rooms that are lost at each step of what is done in them."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import anyio
import pytest

from trio_rpc import ConnectError, DisconnectedError, Room
from trio_rpc.server import RoomServer

from ..conftest import Join
from ..support.tokens import ROOM
from .injection import Moment, Whose, cancel_at_each_step, every_moment
from .rooms import at_rest, call, echo, nobody_left

pytestmark = pytest.mark.anyio


async def do_all_of_it(room: Room) -> None:
    await room.wait_for_participant("bob")
    assert await call(room) == "hi"
    us = room.local_participant
    await us.publish_data("hi")
    await us.set_name("Alice")
    async with us.stream_text(topic="notes") as writer:
        await writer.write("hi")
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(call, room)
        task_group.start_soon(us.publish_data, "hi")


@every_moment
async def test_a_room_that_is_lost_at_any_step_is_one_error(
    join: Join, server: RoomServer, moment: Moment, whose: Whose
) -> None:
    outcomes: Counter[str] = Counter()

    def remove(_scope: anyio.CancelScope) -> None:
        with suppress(LookupError):
            server.remove_participant(ROOM, "alice")

    async def subject() -> None:
        try:
            async with join("alice", can_update_own_metadata=True) as alice:
                await do_all_of_it(alice)
        except DisconnectedError as error:
            outcomes[error.reason.name] += 1
        except ConnectError:
            outcomes["not joined"] += 1
        else:
            outcomes["done"] += 1

    async with join("bob") as bob:
        bob.register_rpc_method("echo", echo)

        async def check() -> None:
            await nobody_left(server, but=1)
            await at_rest(bob)

        await cancel_at_each_step(subject, check, moment=moment, whose=whose, act=remove)
    assert outcomes["PARTICIPANT_REMOVED"] >= 5
    assert outcomes["done"] >= 1
    assert outcomes.keys() <= {"PARTICIPANT_REMOVED", "done", "not joined"}


@every_moment
async def test_a_room_that_is_lost_while_it_is_cancelled_is_cancelled(
    join: Join, server: RoomServer, moment: Moment, whose: Whose
) -> None:
    def remove_and_cancel(scope: anyio.CancelScope) -> None:
        with suppress(LookupError):
            server.remove_participant(ROOM, "alice")
        scope.cancel()

    async def subject() -> None:
        async with join("alice", can_update_own_metadata=True) as alice:
            await do_all_of_it(alice)

    async with join("bob") as bob:
        bob.register_rpc_method("echo", echo)

        async def check() -> None:
            await nobody_left(server, but=1)
            await at_rest(bob)

        act = remove_and_cancel
        assert await cancel_at_each_step(subject, check, moment=moment, whose=whose, act=act) >= 5
