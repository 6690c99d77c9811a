"""The states of a call: rules C2, C5 and C8, whatever comes in which order."""

from __future__ import annotations

from itertools import product
from typing import Final

import anyio
import pytest

from trio_rpc import Participant, RpcError, concurrency
from trio_rpc.concurrency import WOULD_BLOCK
from trio_rpc.rpc.pending_call import CallEvent, Outcome, PendingCall

from ..support.scripted_server import participant_info

pytestmark = pytest.mark.anyio

GAVE_UP: Final = RpcError.built_in(RpcError.ErrorCode.RESPONSE_TIMEOUT, "gave up")
LEFT: Final = RpcError.built_in(RpcError.ErrorCode.RECIPIENT_DISCONNECTED, "left")
TIMEOUT: Final = RpcError.built_in(RpcError.ErrorCode.RESPONSE_TIMEOUT, "timed out")


def make_call() -> PendingCall:
    backend = concurrency.current()
    now = backend.current_time()
    callee, channel = Participant(participant_info("bob")), backend.open_memory_channel(1)
    return PendingCall(
        callee, "greet", "1", now + 7, now + 10, now + 10, 10, 7, now, *channel, "", 0
    )


def take_outcome(call: PendingCall) -> Outcome | None:
    """Return the outcome that has come, if one has."""
    try:
        return call.receive_channel.receive_nowait()
    except WOULD_BLOCK:
        return None


def happen(call: PendingCall, event: CallEvent, number: int) -> None:
    match event:
        case CallEvent.OUTCOME:
            call.finish(f"outcome {number}")
        case CallEvent.GAVE_UP:
            call.hold_back(GAVE_UP)
        case CallEvent.LEFT:
            call.finish(LEFT, CallEvent.LEFT)
        case CallEvent.TIMEOUT:
            call.time_out(TIMEOUT)


def expected_outcome(events: tuple[CallEvent, ...]) -> tuple[str | RpcError | None, bool]:
    """Return the first end, and whether a callee is known to have done with the call.

    A departure or the timeout comes before a 1502 that is held back.
    """
    is_held_back = False
    for number, event in enumerate(events):
        match event:
            case CallEvent.OUTCOME if not is_held_back:
                return f"outcome {number}", True
            case CallEvent.GAVE_UP:
                is_held_back = True
            case CallEvent.LEFT:
                return LEFT, True
            case CallEvent.TIMEOUT:
                return (GAVE_UP, True) if is_held_back else (TIMEOUT, False)
            case _:
                pass
    return None, is_held_back


@pytest.mark.rule("C5", "C8", "C13")
async def test_a_call_has_one_outcome_whatever_comes_in_which_order() -> None:
    for events in product(CallEvent, repeat=5):
        call = make_call()
        for number, event in enumerate(events):
            happen(call, event, number)
        outcome, is_answered = expected_outcome(events)
        assert call.is_answered == is_answered, events
        assert take_outcome(call) == outcome, events
        # There was no other.
        assert take_outcome(call) is None, events


@pytest.mark.rule("C2")
async def test_an_ack_or_a_late_1502_moves_the_deadline_of_a_call() -> None:
    call, held_back = make_call(), make_call()
    assert call.deadline == call.ack_by == call.respond_by - 3
    call.is_acknowledged = True
    held_back.hold_back(GAVE_UP)
    assert (call.deadline, held_back.deadline) == (call.respond_by, held_back.respond_by)


@pytest.mark.rule("C5")
@pytest.mark.parametrize("acknowledged", [False, True])
async def test_an_outcome_ends_the_sending_of_its_request(acknowledged: bool) -> None:
    call = make_call()
    started = anyio.current_time()
    async with anyio.create_task_group() as task_group:

        async def answer_early() -> None:
            await anyio.sleep(1)
            call.finish("early")

        call.is_acknowledged = acknowledged
        task_group.start_soon(answer_early)
        with concurrency.current().cancel_scope() as call.sending:
            await anyio.sleep_forever()
    assert anyio.current_time() - started == pytest.approx(1)
    assert take_outcome(call) == "early"
