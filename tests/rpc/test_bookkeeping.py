"""Counters against peers, and queues of what waits: plain classes without I/O (B1, B4, B5)."""

from __future__ import annotations

import math

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from trio_rpc import RpcError
from trio_rpc.protocol.answered_requests import (
    ANSWERED_REQUEST_BYTES,
    FORGOTTEN_TOGETHER,
    MAX_ANSWERED_REQUESTS,
    AnsweredRequests,
)
from trio_rpc.protocol.budgets import Budget, BudgetExceededError
from trio_rpc.rpc.deadlines import Deadlines
from trio_rpc.rpc.handler_slots import HandlerSlots, TooManyWaitingError

# Budgets


@pytest.mark.rule("B4")
def test_a_peer_is_charged_up_to_its_limit() -> None:
    budget = Budget(max_peer_bytes=100, max_peers_bytes=150)
    budget.charge("mallory", 100)
    with pytest.raises(BudgetExceededError, match=r"100 .* 1 more .* 100 \(max_peer_bytes\)"):
        budget.charge("mallory", 1)
    budget.charge("alice", 50)
    with pytest.raises(BudgetExceededError, match=r"150 .* all .* 150 \(max_peers_bytes\)"):
        budget.charge("bob", 1)
    budget.refund("mallory", 60)
    budget.charge("bob", 60)
    assert (budget.held, budget.held_by("mallory"), budget.held_by("bob")) == (150, 40, 60)


@pytest.mark.rule("B4")
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 60)), max_size=40))
def test_what_is_held_is_what_was_charged_and_not_refunded(charges: list[tuple[str, int]]) -> None:
    budget = Budget(max_peer_bytes=100, max_peers_bytes=200)
    held: list[tuple[str, int]] = []
    for peer, size in charges:
        try:
            budget.charge(peer, size)
        except BudgetExceededError:
            if held:
                budget.refund(*held.pop(0))
        else:
            held.append((peer, size))
        for each in "abc":
            assert budget.held_by(each) == sum(size for peer, size in held if peer == each) <= 100
        assert budget.held == sum(size for _, size in held) <= 200


# Handler slots


@frozen(eq=False)
class Request:
    caller: str


@pytest.mark.rule("A13", "B5")
def test_callers_take_turns_and_each_has_its_oldest_request_run_first() -> None:
    slots: HandlerSlots[Request] = HandlerSlots(1, max_waiting=2)
    running, first, second, other = (Request(caller) for caller in "aaab")
    assert slots.reserve(running)
    assert not any(slots.reserve(each) for each in (first, second, other))
    with pytest.raises(TooManyWaitingError, match=r"^2 requests of this caller wait"):
        slots.reserve(Request("a"))
    slots.remove(other)
    slots.remove(other)
    assert slots.release(running) is first
    assert not slots.reserve(other)
    assert not slots.reserve(running)
    assert slots.release(first) is second
    assert slots.release(second) is other
    assert slots.release(other) is running
    assert slots.release(running) is None
    assert slots.reserve(running)


@pytest.mark.rule("A13", "B5")
def test_nobody_takes_the_last_eighth_of_the_slots_alone() -> None:
    slots: HandlerSlots[Request] = HandlerSlots(80, max_waiting=1_000)
    greedy = [Request("greedy") for _ in range(200)]
    running = [each for each in greedy if slots.reserve(each)]
    assert len(running) == 70
    modest = [Request("modest") for _ in range(20)]
    assert [slots.reserve(each) for each in modest].count(True) == 5
    assert slots.reserve(Request("another"))
    # There are three callers now, of whom each has a third.
    assert [slots.release(each) for each in modest[:3]] == [None, None, modest[5]]
    # The greedy one has to give some back before anybody may take more than that again.
    assert [slots.release(each) for each in running[:4]] == [None] * 4
    assert [slots.release(each) for each in running[4:7]] == [greedy[70], modest[6], greedy[71]]


# Deadlines


@pytest.mark.rule("B5")
@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=300), st.integers(0, 20))
def test_the_earliest_deadline_is_known(things: list[tuple[int, bool]], now: int) -> None:
    deadlines: Deadlines[int] = Deadlines()
    kept: dict[int, int] = {}
    for thing, (deadline, is_discarded) in enumerate(things):
        was_earliest = deadlines.add(thing, deadline)
        assert was_earliest is (deadline < min(kept.values(), default=math.inf))
        kept[thing] = deadline
        if is_discarded:
            deadlines.discard(thing)
            del kept[thing]
    assert set(deadlines) == set(kept)
    expired = deadlines.pop_expired(now)
    assert sorted(expired) == sorted(each for each in kept if kept[each] <= now)
    assert [kept[each] for each in expired] == sorted(kept[each] for each in expired)
    assert len(deadlines) == len(kept) - len(expired)
    assert deadlines.earliest() == min((kept[e] for e in kept if kept[e] > now), default=math.inf)


@pytest.mark.rule("B5")
def test_discarded_deadlines_do_not_pile_up() -> None:
    deadlines: Deadlines[int] = Deadlines()
    for thing in range(10_000):
        deadlines.add(thing, 1e9)
        deadlines.discard(thing)
    assert len(deadlines._heap) < 100


# Answered requests


@pytest.mark.rule("B1", "B4")
def test_answered_requests_are_known_until_their_deadline() -> None:
    budget = Budget()
    answered = AnsweredRequests(budget)
    for caller, request_id, deadline in (("a", "1", 10.0), ("a", "2", 20.0), ("b", "1", 30.0)):
        budget.charge(caller, ANSWERED_REQUEST_BYTES)
        answered.add(caller, request_id, deadline, 0.0)
    assert answered.has("a", "1", 9.9)
    assert not answered.has("a", "1", 10.0)
    assert not answered.has("b", "2", 0.0)
    answered.forget_expired(15.0)
    assert budget.held == 2 * ANSWERED_REQUEST_BYTES
    answered.forget_caller("b")
    assert not answered.has("b", "1", 0.0)
    answered.forget_expired(20.0)
    assert budget.held == 0


@pytest.mark.rule("B1", "B4")
def test_answered_requests_are_forgotten_in_the_order_of_their_deadlines() -> None:
    budget = Budget()
    answered = AnsweredRequests(budget)
    for request_id, deadline in (("1", 30.0), ("2", 10.0), ("3", 20.0)):
        budget.charge("a", ANSWERED_REQUEST_BYTES)
        answered.add("a", request_id, deadline, 0.0)
    for now, left in ((9.9, 3), (10.0, 2), (19.9, 2), (20.0, 1), (29.9, 1), (30.0, 0)):
        answered.forget_expired(now)
        assert budget.held == left * ANSWERED_REQUEST_BYTES


@pytest.mark.rule("B1", "B4")
def test_the_oldest_answered_requests_are_forgotten_first() -> None:
    most = MAX_ANSWERED_REQUESTS + FORGOTTEN_TOGETHER
    budget = Budget(max_peer_bytes=(most + 1) * ANSWERED_REQUEST_BYTES)
    answered = AnsweredRequests(budget)
    for number in range(most + 10):
        budget.charge("a", ANSWERED_REQUEST_BYTES)
        answered.add("a", str(number), 10.0, 0.0)
    assert not answered.has("a", str(FORGOTTEN_TOGETHER - 1), 0.0)
    assert answered.has("a", str(FORGOTTEN_TOGETHER), 0.0)
    assert budget.held == (MAX_ANSWERED_REQUESTS + 10) * ANSWERED_REQUEST_BYTES


def remember(
    answered: AnsweredRequests,
    budget: Budget,
    request_id: str,
    outcome: str | RpcError | None = None,
    *,
    caller: str = "a",
    deadline: float = 10.0,
) -> None:
    budget.charge(caller, ANSWERED_REQUEST_BYTES)
    answered.add(caller, request_id, deadline, 0.0, outcome)


@pytest.mark.rule("L7", "B4")
def test_outcomes_are_kept_with_their_requests_and_charged() -> None:
    budget = Budget()
    answered = AnsweredRequests(budget)
    remember(answered, budget, "1", "x" * 1_000)
    remember(answered, budget, "2", RpcError(7, "m" * 1_000))
    remember(answered, budget, "3")
    assert answered.outcome("a", "1") == "x" * 1_000
    assert isinstance(answered.outcome("a", "2"), RpcError)
    assert answered.outcome("a", "3") is None
    assert answered.outcome("b", "1") is None
    assert budget.held > 3 * ANSWERED_REQUEST_BYTES + 2_000
    answered.forget_expired(10.0)
    assert answered.outcome("a", "1") is None
    assert budget.held == 0


@pytest.mark.rule("L7", "B4")
def test_outcomes_make_room_for_what_is_needed() -> None:
    budget = Budget(max_peer_bytes=400_000)
    answered = AnsweredRequests(budget)
    for number in range(9):
        remember(answered, budget, str(number), "x" * 10_000)
    budget.charge("a", 400_000 - budget.held + 15_000)
    kept = [answered.outcome("a", str(number)) is not None for number in range(9)]
    assert kept == [False] * 2 + [True] * 7
    with pytest.raises(BudgetExceededError, match="max_peer_bytes"):
        budget.charge("a", 100_000)
    # They are remembered all the same.
    assert all(answered.has("a", str(number), 0.0) for number in range(9))
    budget.refund("a", budget.held - 9 * ANSWERED_REQUEST_BYTES)
    answered.forget_expired(10.0)
    assert budget.held == 0


@pytest.mark.rule("L7", "B4")
def test_outcomes_take_a_quarter_of_a_budget_and_the_oldest_are_dropped_first() -> None:
    budget = Budget(max_peer_bytes=400_000)
    answered = AnsweredRequests(budget)
    for number in range(100):
        remember(answered, budget, str(number), "x" * 10_000)
    kept = [number for number in range(100) if answered.outcome("a", str(number)) is not None]
    assert kept == list(range(100 - len(kept), 100))
    assert 8 <= len(kept) <= 10
    assert all(answered.has("a", str(number), 0.0) for number in range(100))
    remember(answered, budget, "too large", "x" * 100_001)
    assert answered.outcome("a", "too large") is None
    answered.forget_caller("a")
    assert budget.held == 0


@pytest.mark.rule("L7", "B4")
def test_outcomes_of_all_callers_take_a_quarter_of_the_budget_for_all() -> None:
    budget = Budget(max_peer_bytes=1_000_000, max_peers_bytes=1_000_000)
    answered = AnsweredRequests(budget)
    for number in range(100):
        remember(answered, budget, "1", "x" * 10_000, caller=str(number))
    kept = [number for number in range(100) if answered.outcome(str(number), "1") is not None]
    assert kept == list(range(len(kept)))
    assert 20 <= len(kept) <= 25


@pytest.mark.rule("L7")
def test_an_outcome_without_room_in_the_budget_is_not_kept() -> None:
    budget = Budget(max_peer_bytes=10_000)
    budget.charge("a", 9_000)
    answered = AnsweredRequests(budget)
    remember(answered, budget, "1", "x" * 1_000)
    assert answered.has("a", "1", 0.0)
    assert answered.outcome("a", "1") is None


@pytest.mark.rule("L8")
def test_requests_that_were_forgotten_early_are_known_to_be_missing() -> None:
    budget = Budget(max_peers_bytes=1 << 40, max_peer_bytes=1 << 40)
    answered = AnsweredRequests(budget)
    for number in range(MAX_ANSWERED_REQUESTS + FORGOTTEN_TOGETHER):
        remember(answered, budget, str(number), deadline=20.0)
    assert not answered.may_have_forgotten("a", 0.0)
    remember(answered, budget, "one more")
    assert answered.may_have_forgotten("a", 19.9)
    assert not answered.may_have_forgotten("a", 20.0)
    assert not answered.may_have_forgotten("b", 0.0)
    remember(answered, budget, "for an hour", caller="b", deadline=3_600.0)
    answered.forget_expired(301.0)
    assert not answered.has("b", "for an hour", 301.0)
    assert answered.may_have_forgotten("b", 3_599.0)


@pytest.mark.rule("L8")
def test_of_many_callers_whose_requests_were_forgotten_none_is_taken_for_new() -> None:
    budget = Budget()
    answered = AnsweredRequests(budget)
    for number in range(3_000):
        remember(answered, budget, "1", caller=str(number), deadline=1_000.0 + number)
    answered.forget_expired(301.0)
    assert budget.held == 0
    assert len(answered._forgotten_until) <= 1_000
    for number in range(3_000):
        assert answered.may_have_forgotten(str(number), 999.0)
    answered.forget_expired(5_000.0)
    assert len(answered._forgotten_until) == 0
    assert not answered.may_have_forgotten("0", 5_000.0)
