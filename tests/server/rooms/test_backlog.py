"""The shares of a queue, and which senders have to wait for it."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_rpc import concurrency
from trio_rpc.server.back_pressure import wait_for_room, wait_for_share
from trio_rpc.server.rooms.backlog import Backlog

pytestmark = pytest.mark.rule("B8")


def backlog(max_bytes: int = 1_000) -> Backlog:
    return Backlog(max_bytes)


def charge(queue: Backlog, queued: int, *causes: tuple[str, int]) -> int:
    """Queue so much of each; returns how much is queued then."""
    for cause, size in causes:
        queued += size
        queue.charge(cause, size, queued)
    return queued


# Shares


def test_a_single_sender_is_held_back_beyond_half() -> None:
    queue = backlog()
    queued = charge(queue, 0, ("alice", 500))
    assert not queue.holds_back("alice", queued)
    queued = charge(queue, queued, ("alice", 1))
    assert queue.holds_back("alice", queued)
    assert not queue.holds_back("bob", queued)


def test_who_has_less_than_a_fair_share_is_not_held_back() -> None:
    queue = backlog()
    queued = charge(queue, 0, ("flooder", 450), ("honest", 100))
    assert queue.holds_back("flooder", queued)
    assert not queue.holds_back("honest", queued)
    # Three who have something: a fair share is a third of the half.
    queued = charge(queue, queued, ("honest", 60), ("carol", 180))
    assert queue.holds_back("carol", queued)
    assert not queue.holds_back("honest", queued)


def test_a_small_share_is_not_held_back_for_a_crowd_of_smaller_ones() -> None:
    queue = backlog(100_000)
    crowd = [(f"{number}", 10) for number in range(1_000)]
    queued = charge(queue, 0, ("flooder", 60_000), ("honest", 1_000), *crowd)
    assert queue.holds_back("flooder", queued)
    assert not queue.holds_back("honest", queued)
    # They too have to wait who have much together.
    queued = charge(queue, 0, *((name, 90) for name, _ in crowd))
    assert queue.holds_back("1", queued)


def test_nobody_is_held_back_up_to_half() -> None:
    queue = backlog()
    queued = charge(queue, 0, ("flooder", 499), ("honest", 1))
    assert not queue.holds_back("flooder", queued)


def test_what_has_left_is_nobodys_any_more() -> None:
    queue = backlog()
    queued = charge(queue, 0, ("flooder", 600), ("honest", 100))
    # The oldest leave first, and in part.
    assert queue.holds_back("flooder", queued - 100)
    assert not queue.holds_back("flooder", queued - 400)
    queued = charge(queue, queued - 600, ("honest", 600))
    assert queue.holds_back("honest", queued)
    assert not queue.holds_back("flooder", queued)
    assert charge(queue, 0, ("flooder", 10)) == 10
    assert len(queue.charged) == 1


def test_a_flood_is_one_entry() -> None:
    queue = backlog(1_000_000)
    charge(queue, 0, *[("flooder", 10)] * 10_000)
    assert len(queue.charged) == 1


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 50)) | st.integers(0, 3), max_size=60)
)
def test_shares_are_those_of_the_frames_that_are_queued(
    steps: list[tuple[str, int] | int],
) -> None:
    queue = backlog()
    frames: deque[tuple[str, int]] = deque()
    for step in steps:
        if isinstance(step, int):
            for _ in range(min(step, len(frames))):
                frames.popleft()
        else:
            frames.append(step)
            queue.charge(*step, sum(size for _, size in frames))
        queued = sum(size for _, size in frames)
        shares = {cause: 0 for cause, _ in frames}
        for cause, size in frames:
            shares[cause] += size
        for cause in "abc":
            share = shares.get(cause, 0)
            is_held_back = queue.holds_back(cause, queued)
            if queued <= 500 or _together(shares, 2 * share) <= 500:
                assert not is_held_back
            elif _together(shares, share) > 500:
                assert is_held_back


def _together(shares: dict[str, int], limit: int) -> int:
    """Return what all have, were nobody's share larger than that."""
    return sum(min(share, limit) for share in shares.values())


@pytest.mark.parametrize(
    ("size", "queued", "has_room"),
    [(10, 875, True), (10, 876, False), (126, 875, False), (5_000, 0, True), (5_000, 1, False)],
)
def test_there_is_room_up_to_seven_eighths_or_in_an_empty_queue(
    size: int, queued: int, has_room: bool
) -> None:
    assert backlog().has_room(size, queued) == has_room


# Waiting


class Flag:
    """Whether a waiter was woken."""

    is_set = False

    def set(self) -> None:
        self.is_set = True


def test_who_waits_is_woken_when_its_share_is_fair() -> None:
    asked: list[str] = []
    queue = Backlog(1_000, on_waiter=lambda: asked.append("relieve"))
    charge(queue, 0, ("alice", 600), ("bob", 300))
    alice, bob = Flag(), Flag()
    with queue.waiting_for_share("alice", alice.set), queue.waiting_for_share("bob", bob.set):
        assert asked == ["relieve"] * 2
        assert queue.relieve(900)
        assert queue.relieve(551)
        # Of the 550 that are left, alice has 250 and bob 300.
        assert queue.relieve(550)
        assert (alice.is_set, bob.is_set) == (True, False)
        assert not queue.relieve(500)
        assert bob.is_set


def test_no_more_are_woken_at_once_than_there_is_room_for() -> None:
    queue = backlog()
    flags = [Flag() for _ in range(4)]
    with ExitStack() as waits:
        for each in flags:
            waits.enter_context(queue.waiting_for_room(100, each.set))
        assert queue.relieve(876)
        assert [each.is_set for each in flags] == [False] * 4
        assert queue.relieve(790)
        assert [each.is_set for each in flags] == [True, False, False, False]
        assert queue.relieve(700)
        assert [each.is_set for each in flags] == [True, True, True, False]
        assert not queue.relieve(0)
        assert flags[3].is_set


def test_what_is_larger_than_the_queue_waits_for_an_empty_one() -> None:
    queue = backlog()
    large = Flag()
    with queue.waiting_for_room(5_000, large.set):
        assert queue.relieve(1)
        assert not large.is_set
        assert not queue.relieve(0)
        assert large.is_set


@pytest.mark.anyio
async def test_no_sender_waits_for_a_member_that_has_left() -> None:
    backend = concurrency.current()
    queue = backlog()
    charge(queue, 0, ("alice", 900))
    with anyio.fail_after(1):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_share, backend, queue, "alice")
            tasks.start_soon(wait_for_room, backend, queue, 500)
            await anyio.wait_all_tasks_blocked()
            queue.close()
        assert not queue.holds_back("alice", 900)
        await wait_for_room(backend, queue, 500)


@pytest.mark.anyio
async def test_who_is_cancelled_waits_no_more() -> None:
    queue = backlog()
    with anyio.move_on_after(1) as scope:
        await wait_for_room(concurrency.current(), queue, 500)
    assert scope.cancelled_caught
    assert not queue.relieve(1_000)
