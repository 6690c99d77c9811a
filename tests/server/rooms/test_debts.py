"""The acks and answers that a member owes (B8)."""

from __future__ import annotations

import pytest

from trio_rpc.server.rooms.debts import Debts

pytestmark = pytest.mark.rule("B8")


def test_a_request_is_paid_by_an_ack_and_an_answer() -> None:
    debts = Debts()
    assert not debts.pay("alice")
    debts.incur("alice")
    debts.incur("alice")
    assert [debts.pay("alice") for _ in range(5)] == [True] * 4 + [False]
    assert not debts.pay("bob")


def test_debts_to_a_caller_that_left_are_paid_when_it_is_back() -> None:
    debts = Debts()
    debts.incur("alice")
    debts.on_departures(["alice", "bob"])
    debts.incur("alice")
    debts.on_departures(["alice"])
    debts.incur("alice")
    assert [debts.pay("alice") for _ in range(7)] == [True] * 6 + [False]


def test_debts_to_callers_that_left_are_bounded_and_the_oldest_are_forgotten() -> None:
    debts = Debts()
    identities = [f"{number}" for number in range(1001)]
    for identity in identities:
        debts.incur(identity)
        debts.on_departures([identity])
    assert [debts.pay(each) for each in identities] == [False] + [True] * 1000
