"""Connections that have not said yet who they are: which of them have to go, and when."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
import pytest
from attrs import define, evolve, field

from trio_rpc import concurrency
from trio_rpc.net.handshakes import Handshake, PendingHandshakes, address_of

from ..support.turns import CountedTurns

pytestmark = [pytest.mark.anyio, pytest.mark.rule("B11")]

ALICE: Final = "192.0.2.1"
BOB: Final = "192.0.2.2"
MALLORY: Final = "198.51.100.1"


def unlimited() -> PendingHandshakes:
    return PendingHandshakes(10_000, 10_000, concurrency.current())


@define(eq=False)
class Door:
    """A listener whose connections are silent, numbered in the order of their arrival.

    Attributes:
        rejected: Whose handshake was rejected, and why.
        late: Whose handshake took too long.
    """

    handshakes: PendingHandshakes
    _task_group: anyio.abc.TaskGroup
    rejected: dict[int, str] = field(factory=dict)
    late: list[int] = field(factory=list)
    _count: int = 0

    async def come(self, address: str | None, *, seconds: float = 10.0) -> Handshake:
        self._count += 1
        handshake: Handshake = await self._task_group.start(
            self._shake_hands, self._count, address, seconds
        )
        await anyio.wait_all_tasks_blocked()
        return handshake

    async def _shake_hands(
        self,
        number: int,
        address: str | None,
        seconds: float,
        *,
        task_status: anyio.abc.TaskStatus[Handshake],
    ) -> None:
        with self.handshakes.open(address, seconds) as handshake:
            task_status.started(handshake)
            await anyio.sleep_forever()
        if handshake.rejection:
            self.rejected[number] = handshake.rejection
        else:
            self.late.append(number)


@asynccontextmanager
async def door(max_pending: int, max_per_address: int) -> AsyncIterator[Door]:
    handshakes = PendingHandshakes(max_pending, max_per_address, concurrency.current())
    async with anyio.create_task_group() as task_group:
        yield Door(handshakes, task_group)
        task_group.cancel_scope.cancel()


async def test_with_one_too_many_of_an_address_its_oldest_goes() -> None:
    async with door(max_pending=10, max_per_address=2) as entrance:
        for address in (ALICE, MALLORY, MALLORY, BOB, MALLORY, MALLORY):
            await entrance.come(address)
        text = "2 others of your address wait to join: try again"
        assert entrance.rejected == {2: text, 3: text}


async def test_with_one_too_many_in_all_the_oldest_of_the_address_with_most_goes() -> None:
    async with door(max_pending=5, max_per_address=4) as entrance:
        for address in (ALICE, ALICE, MALLORY, MALLORY, MALLORY, BOB, BOB):
            await entrance.come(address)
        text = "5 others wait to join: try again"
        # By now each has two or one: the one that has waited longest is rejected.
        assert entrance.rejected == {3: text, 1: text}


async def test_with_one_of_each_the_oldest_goes() -> None:
    async with door(max_pending=3, max_per_address=3) as entrance:
        for number in range(6):
            await entrance.come(f"192.0.2.{number}")
        assert [*entrance.rejected] == [1, 2, 3]


async def test_those_without_an_address_are_bounded_in_all_alone() -> None:
    async with door(max_pending=5, max_per_address=2) as entrance:
        for _ in range(7):
            await entrance.come(None)
        text = "5 others wait to join: try again"
        assert entrance.rejected == {1: text, 2: text}


async def test_who_takes_too_long_makes_space() -> None:
    async with door(max_pending=2, max_per_address=2) as entrance:
        await entrance.come(ALICE, seconds=1)
        await entrance.come(ALICE, seconds=5)
        await anyio.sleep(2)
        assert entrance.late == [1]
        await entrance.come(ALICE)
        assert entrance.rejected == {}
        await entrance.come(ALICE)
        assert [*entrance.rejected] == [2]


async def test_who_is_through_makes_space() -> None:
    async with door(max_pending=2, max_per_address=2) as entrance:
        for _ in range(5):
            with entrance.handshakes.open(ALICE, 1.0) as handshake:
                pass
            assert handshake.rejection == ""
        await entrance.come(ALICE)
        await entrance.come(ALICE)
        assert entrance.rejected == {}


async def test_all_can_be_rejected() -> None:
    async with door(max_pending=10, max_per_address=10) as entrance:
        for address in (ALICE, BOB, None, BOB):
            await entrance.come(address)
        entrance.handshakes.reject_all("the server shuts down")
        await anyio.wait_all_tasks_blocked()
        assert entrance.rejected == dict.fromkeys((1, 2, 3, 4), "the server shuts down")


async def test_those_that_were_rejected_are_bounded_too() -> None:
    handshakes = PendingHandshakes(3, 2, concurrency.current())
    waited_for: list[str] = []

    async def read_last(address: str) -> None:
        waited_for.append(address)
        with handshakes.closing(address, 60.0):
            await anyio.sleep_forever()
        waited_for.remove(address)

    async with anyio.create_task_group() as task_group:
        for address in (ALICE, MALLORY, MALLORY, MALLORY, BOB):
            task_group.start_soon(read_last, address)
            await anyio.wait_all_tasks_blocked()
        assert waited_for == [ALICE, MALLORY, BOB]
        # They take no place of those that are to come.
        with handshakes.open(MALLORY, 1.0) as handshake:
            pass
        assert handshake.rejection == ""
        await anyio.sleep(61)
        assert waited_for == []


@pytest.mark.parametrize(
    ("listening", "host", "address"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("::1", "::1", "0000:0000:0000:0000"),
        ("::", "127.0.0.1", "127.0.0.1"),
    ],
    ids=["IPv4", "IPv6", "IPv4 over IPv6"],
)
def test_the_address_of_a_connection(listening: str, host: str, address: str) -> None:
    family = socket.AF_INET6 if ":" in listening else socket.AF_INET
    with (
        socket.create_server(
            (listening, 0), family=family, dualstack_ipv6=listening == "::"
        ) as listener,
        socket.create_connection((host, listener.getsockname()[1])),
        listener.accept()[0] as accepted,
    ):
        assert address_of(accepted) == address


def test_a_socket_in_the_file_system_has_no_address() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert address_of(near) is None


@pytest.mark.rule("B7")
async def test_however_many_come_together_one_has_its_turn_at_a_time() -> None:
    handshakes, turns_at = unlimited(), []

    async def log_in() -> None:
        await handshakes.take_turn()
        turns_at.append(turns.count)

    async with CountedTurns() as turns, anyio.create_task_group() as task_group:
        for _ in range(100):
            task_group.start_soon(log_in)
    assert turns_at == sorted(turns_at)
    # trio runs tasks in any order: some other may have its turn before two of them, and after them.
    assert all(turns_at.count(each) <= 2 for each in turns_at)


@define(eq=False)
class Clock:
    """A clock that a test moves, and pauses that move it."""

    now: float = 1_000.0
    pauses: list[float] = field(factory=list[float])

    def current_time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def paced(clock: Clock) -> PendingHandshakes:
    backend = evolve(concurrency.current(), current_time=clock.current_time, sleep=clock.sleep)
    return PendingHandshakes(10_000, 10_000, backend)


@pytest.mark.rule("B7")
async def test_logins_leave_time_to_others_in_proportion_to_what_they_take() -> None:
    clock = Clock()
    handshakes = paced(clock)

    async def log_in(seconds: float) -> None:
        await handshakes.take_login_turn()
        clock.now += seconds

    began = clock.now
    for _ in range(100):
        await log_in(0.002)
    assert clock.pauses == pytest.approx([0.004] * 99)
    assert clock.now - began == pytest.approx(100 * 0.002 + 99 * 0.004)
    for _ in range(3):
        await log_in(0.04)
    assert clock.pauses[99:] == pytest.approx([0.004, 0.01, 0.01])


async def test_a_login_that_follows_no_other_closely_needs_no_pause() -> None:
    clock = Clock()
    handshakes = paced(clock)
    for _ in range(3):
        await handshakes.take_login_turn()
        clock.now += 0.051
    assert not clock.pauses


async def test_who_gives_up_in_a_pause_holds_up_nobody() -> None:
    handshakes = unlimited()
    backend = concurrency.current()
    await handshakes.take_login_turn()
    await backend.sleep(0.015)
    with anyio.move_on_after(0.005) as scope:
        await handshakes.take_login_turn()
    assert scope.cancelled_caught
    with anyio.fail_after(1):
        await handshakes.take_login_turn()
