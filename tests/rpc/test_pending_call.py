"""The states of a call: rules C2, C5 and C8, whatever comes in which order."""

from __future__ import annotations

from itertools import product
from typing import Final

import anyio
import pytest

from trio_rpc import Participant, RpcError, concurrency
from trio_rpc.rpc.pending_call import CallEvent, PendingCall

from ..support.scripted_server import participant_info

pytestmark = pytest.mark.anyio

GAVE_UP: Final = RpcError.built_in(RpcError.ErrorCode.RESPONSE_TIMEOUT, "gave up")
LEFT: Final = RpcError.built_in(RpcError.ErrorCode.RECIPIENT_DISCONNECTED, "left")


def make_call() -> PendingCall:
    backend = concurrency.current()
    now = backend.current_time()
    scope = backend.cancel_scope(deadline=now + 7)
    callee = Participant(participant_info("bob"))
    return PendingCall(
        callee, "greet", "1", scope, now + 10, now + 10, *backend.open_memory_channel(1)
    )


def happen(call: PendingCall, event: CallEvent, number: int) -> None:
    match event:
        case CallEvent.SENT:
            call.change(CallEvent.SENT)
        case CallEvent.ACK:
            call.on_ack()
        case CallEvent.OUTCOME:
            call.finish(f"outcome {number}")
        case CallEvent.GAVE_UP:
            call.hold_back(GAVE_UP)
        case CallEvent.LEFT:
            call.finish(LEFT, CallEvent.LEFT)


def expected_outcome(events: tuple[CallEvent, ...]) -> str | RpcError | None:
    """Return the first response, or the departure of a side before it or while a 1502 is held."""
    outcome: str | RpcError | None = None
    for number, event in enumerate(events):
        match event:
            case CallEvent.OUTCOME if outcome is None:
                outcome = f"outcome {number}"
            case CallEvent.GAVE_UP if outcome is None:
                outcome = GAVE_UP
            case CallEvent.LEFT if outcome in (None, GAVE_UP):
                outcome = LEFT
            case _:
                pass
    return outcome


@pytest.mark.rule("C5", "C8", "C13")
async def test_a_call_has_one_outcome_whatever_comes_in_which_order() -> None:
    for events in product(CallEvent, repeat=5):
        call = make_call()
        for number, event in enumerate(events):
            happen(call, event, number)
        outcome = expected_outcome(events)
        assert call.is_answered == (outcome is not None), events
        assert call.take_outcome() == outcome, events
        # There was no other.
        assert call.take_outcome() in (None, GAVE_UP), events


@pytest.mark.rule("C2")
async def test_an_ack_counts_until_its_time_is_over() -> None:
    call = make_call()
    with call.scope:
        call.change(CallEvent.SENT)
        assert not call.is_acknowledged
        await anyio.sleep(6.9)
        call.on_ack()
        assert call.is_acknowledged
    late = make_call()
    with late.scope:
        late.change(CallEvent.SENT)
        await anyio.sleep(8)
    late.on_ack()
    assert not late.is_acknowledged


@pytest.mark.rule("C2")
async def test_an_acknowledged_request_may_take_longer_to_be_sent_than_an_ack_may() -> None:
    call = make_call()
    with call.scope:
        call.on_ack()
        await anyio.sleep(9)
        call.change(CallEvent.SENT)
        call.finish("hello")
    assert not call.scope.cancel_called
    assert call.take_outcome() == "hello"


@pytest.mark.rule("C5")
@pytest.mark.parametrize("acknowledged", [False, True])
async def test_an_outcome_ends_the_sending_of_its_request(acknowledged: bool) -> None:
    call = make_call()
    started = anyio.current_time()
    async with anyio.create_task_group() as task_group:

        async def answer_early() -> None:
            await anyio.sleep(1)
            call.finish("early")

        if acknowledged:
            call.on_ack()
        task_group.start_soon(answer_early)
        with call.scope:
            await anyio.sleep_forever()
    assert anyio.current_time() - started == pytest.approx(1)
    assert call.take_outcome() == "early"
