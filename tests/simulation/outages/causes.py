"""The causes that the outcomes of calls need where the network fails.

While both sides are connected nothing is lost, and what was lost with a connection is sent again
over the next one. So with the network back in time, the outcome of a call is its handler's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trio_rpc import RpcError
from trio_rpc.client.session import RETURN_WINDOW

from ..causes import (
    CHECKS,
    EPSILON,
    WIRE_MARGIN,
    Check,
    caller_left,
    codes,
    elapsed,
    missing_cause_of_outcome,
    overdue_since_caller_left,
    transit,
)
from ..records import CallRecord, Outage

#: Expired participants are looked for with each ping.
_PING_INTERVAL: Final = 5.0


def missing_outage_cause(record: CallRecord) -> str | None:
    """Return why a call must not have ended as it did; None when all is well."""
    # A callee that is seen to leave may be back at once, and the call goes on (L8).
    return overdue_since_caller_left(record) or missing_cause_of_outcome(record, _CHECKS)


def outages_of(record: CallRecord, since: float, until: float) -> Iterator[Outage]:
    """Yield the outages of caller and callee in a time, both ends included."""
    yield from record.session.actor.outages_in(since, until)
    if record.callee is not None:
        yield from record.callee.outages_in(since, until)


def _connection_timeout(record: CallRecord, _outcome: RpcError) -> str | None:
    latency = record.session.actor.profile.max_round_trip_latency
    if elapsed(record) < latency - EPSILON:
        return f"it should have after {latency:g} s at the earliest"
    if record.plan.response_timeout <= latency:
        return "its response_timeout was the shorter of the two"
    # The suspended time counts from the last time that the caller's connection was restored.
    assert record.ended is not None
    since = record.ended - 2 * transit(record) - EPSILON
    if any(outages_of(record, since, record.ended)) or not _were_there(record):
        return None
    return "nothing kept the acknowledgement from coming"


def _response_timeout(record: CallRecord, outcome: RpcError) -> str | None:
    plan = record.plan
    by_callee = "did not finish within" in (outcome.data or "")
    if not by_callee and abs(elapsed(record) - plan.response_timeout) > EPSILON:
        return f"it should have after {plan.response_timeout:g} s"
    if plan.answer.kind in ("hang", "linger"):
        return None
    return _why_not_late(record)


def _why_not_late(record: CallRecord) -> str | None:
    """Return why a call must have had its handler's outcome in time; None if it need not."""
    plan = record.plan
    if not _were_there(record):
        return None
    seconds = plan.answer.seconds
    if plan.answer.call is not None:
        seconds += plan.answer.call.response_timeout
    assert record.ended is not None
    ends = (outage.ended for outage in outages_of(record, record.started, record.ended))
    begins = max((record.started, *ends))
    if begins + seconds + transit(record) >= record.started + record.seconds_at_least - WIRE_MARGIN:
        return None
    return "there was time enough"


def _recipient_not_found(record: CallRecord, outcome: RpcError) -> str | None:
    # After a rejoin of its own, the caller waits for those who were in the room before (L9).
    waited = elapsed(record)
    rejoined = any(
        not each.resumed
        for each in record.session.actor.outages_in(
            record.started - RETURN_WINDOW - _PING_INTERVAL, record.started + waited
        )
    )
    if waited and rejoined and record.plan.waits_for_connection:
        return None
    return CHECKS[codes.RECIPIENT_NOT_FOUND](record, outcome)


def _recipient_disconnected(record: CallRecord, _outcome: RpcError) -> str | None:
    # To see the callee leave is no cause: it may rejoin, and the call is sent again (L8, L9).
    if caller_left(record) or not _were_there(record):
        return None
    if abs(elapsed(record) - record.plan.response_timeout) < EPSILON:
        return _why_not_late(record)
    return "neither side had left for good"


def _send_failed(record: CallRecord, _outcome: RpcError) -> str | None:
    if caller_left(record):
        return None
    if record.plan.waits_for_connection:
        return "it was to wait for a connection"
    if elapsed(record) > 0:
        return "that was known at once"
    is_away = any(record.session.actor.outages_in(record.started, record.started))
    return None if is_away else "the connection was there"


def _were_there(record: CallRecord) -> bool:
    """Whether both sides were in the room all the time, in one session each."""
    assert record.ended is not None
    if record.session.is_replaced or record.callee is None:
        return False
    caller = record.session.actor
    # Without a connection, the caller learns later that its callee has left and joined again.
    begins = (each.began for each in caller.outages_in(record.started, record.started))
    known_since = min((record.started, *begins))
    return caller.was_there(record.started, record.ended) and record.callee.was_there(
        known_since, record.ended
    )


_CHECKS: Final[dict[RpcError.ErrorCode, Check]] = {
    **CHECKS,
    codes.CONNECTION_TIMEOUT: _connection_timeout,
    codes.RESPONSE_TIMEOUT: _response_timeout,
    codes.SEND_FAILED: _send_failed,
    codes.RECIPIENT_DISCONNECTED: _recipient_disconnected,
    codes.RECIPIENT_NOT_FOUND: _recipient_not_found,
}
