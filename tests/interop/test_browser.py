"""Behaviour that only a browser can show."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Final

import pytest

from trio_rpc import RpcError

from .conftest import Cast, Programs
from .program import Failure, Peer

#: How often a tab joins and calls.
ROUNDS: Final = 10


@pytest.fixture
def watcher(cast: Cast) -> Peer:
    return cast.peer("trio", "watches")


@pytest.mark.rule("V9", "C8")
def test_a_crashed_tab_is_missed(cast: Cast, programs: Programs, watcher: Peer) -> None:
    victim = cast.join(programs.get("browser"), "a tab that crashes")
    watcher.wait_for("sees", who=victim.identity)
    call = watcher.begin_call(victim.identity, "hang")
    victim.wait_for("invoked", who=watcher.identity)
    victim.crash()
    outcome = call.outcome()
    assert isinstance(outcome, Failure)
    assert outcome.code == RpcError.ErrorCode.RECIPIENT_DISCONNECTED
    watcher.wait_for("lost", who=victim.identity)


@pytest.mark.rule("C1")
def test_the_first_call_of_a_tab_is_timed(
    cast: Cast, programs: Programs, watcher: Peer, report: Callable[[str], None]
) -> None:
    seconds = []
    for number in range(ROUNDS):
        tab = Peer(programs.get("browser"), f"tab {number}")
        seconds.append(tab.join_and_call(*cast.admission(tab.identity), watcher.identity))
        tab.leave()
    fastest, median, slowest = (
        f"{1000 * each:.0f} ms" for each in (min(seconds), statistics.median(seconds), max(seconds))
    )
    report(
        f"A browser's first call, made as soon as it had joined: {median} "
        f"(median of {ROUNDS}, from {fastest} to {slowest})."
    )
