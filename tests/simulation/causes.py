"""The causes that the outcomes of calls need.

With nothing in its way, a call ends as its scenario says. Anything else needs a cause that the
rules name for it, and that is on record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from trio_rpc import RpcError
from trio_rpc.protocol.limits import MAX_PAYLOAD_BYTES, utf8_length

from .records import CANCELLED, CallRecord
from .scenario import MAX_V2_PAYLOAD_BYTES

#: Seconds that two times may differ in and still be the same: floats are not exact.
EPSILON: Final = 1e-6
#: The timeout on the wire is shorter than the caller's, by a millisecond when nothing is measured.
WIRE_MARGIN: Final = 0.002

codes: Final = RpcError.ErrorCode

Check = Callable[[CallRecord, RpcError], str | None]


def missing_cause(record: CallRecord) -> str | None:
    """Return why a call must not have ended as it did; None when all is well."""
    return overdue(record) or missing_cause_of_outcome(record, CHECKS)


def missing_cause_of_outcome(
    record: CallRecord, checks: Mapping[RpcError.ErrorCode, Check]
) -> str | None:
    """Return why a call must not have had its outcome; None when all is well.

    Args:
        checks: The check of each code.
    """
    outcome = record.outcome
    if isinstance(outcome, str):
        return _why_not_returned(record, outcome)
    if isinstance(outcome, RpcError):
        if outcome.code >= 2000:
            return _why_not_raised(record, outcome)
        return checks[codes(outcome.code)](record, outcome)
    if record.outcome_name == CANCELLED:
        return why_not_cancelled(record)
    return "nothing of that kind may come out of a call"


# The rules


def overdue(record: CallRecord) -> str | None:
    """Return the departure that should have ended a call earlier; None if there was none."""
    if problem := overdue_since_caller_left(record):
        return problem
    before = _now(record) - EPSILON
    for identity, at in record.session.seen_leaving:
        if identity == record.plan.callee and record.started < at < before:
            return "its callee had left before"
    return None


def overdue_since_caller_left(record: CallRecord) -> str | None:
    """Return the caller's departure that should have ended a call earlier."""
    ended = record.session.ended
    if ended is not None and record.started < ended < _now(record) - EPSILON:
        return "its caller had left before"
    return None


def _limit(record: CallRecord) -> int:
    v2 = record.callee is not None and record.callee.profile.speaks_v2
    return MAX_V2_PAYLOAD_BYTES if v2 else MAX_PAYLOAD_BYTES


def _why_not_returned(record: CallRecord, outcome: str) -> str | None:
    plan = record.plan
    if plan.answer.kind not in ("return", "call on"):
        return f"its handler was to {plan.answer.kind}"
    if outcome != plan.echo:
        return "that is not its answer"
    return _why_not_answered(record)


def _why_not_raised(record: CallRecord, outcome: RpcError) -> str | None:
    plan = record.plan
    if plan.answer.kind != "raise":
        return f"its handler was to {plan.answer.kind}"
    if (outcome.code, outcome.data) != (plan.error_code, str(plan.number)):
        return "that is not its answer"
    return _why_not_answered(record)


def _why_not_answered(record: CallRecord) -> str | None:
    """Return why no handler can have answered."""
    if not any(run.ended is not None for run in record.runs):
        return "no handler has ended for it"
    if elapsed(record) < record.plan.answer.seconds - EPSILON:
        return "its handler takes longer than that"
    return None


def why_not_cancelled(record: CallRecord) -> str | None:
    patience = record.plan.cancel_after
    if patience is not None and abs(elapsed(record) - patience) < EPSILON:
        return None
    parent = record.parent
    if parent is None:
        return "nobody cancelled it"
    if parent.record.ended is not None or parent.session.disturbed is not None:
        return None
    if parent.session.ended is not None:
        return None
    if _now(record) >= parent.earliest_deadline - EPSILON:
        return None
    return "neither it nor the handler that made it was cancelled"


def _unsupported_method(record: CallRecord, _outcome: RpcError) -> str | None:
    return None if record.plan.method != "do" else "there is such a method"


def _recipient_not_found(record: CallRecord, _outcome: RpcError) -> str | None:
    if record.callee is None:
        return None if elapsed(record) == 0 else "that was known at once"
    if not record.callee_known:
        return None if elapsed(record) == 0 else "that was known at once"
    # It had left, and the caller did not know yet.
    since = record.started
    for stall in record.session.actor.stalls:
        if stall.began <= _now(record) and record.started <= stall.ended:
            since = min(since, stall.began)
    return None if not record.callee.was_there(since, _now(record)) else "the callee was there"


def request_too_large(record: CallRecord, _outcome: RpcError) -> str | None:
    if elapsed(record) > 0:
        return "that was known at once"
    return None if utf8_length(record.plan.payload) > _limit(record) else "it was not too large"


def _application_error(record: CallRecord, outcome: RpcError) -> str | None:
    data = outcome.data or ""
    if "failed; its own log says why" in data:
        kind = record.plan.answer.kind
        return None if kind in ("crash", "return a number") else f"its handler was to {kind}"
    if "max_waiting_requests" in data:
        narrow = record.callee is not None and record.callee.profile.max_concurrent_handlers < 1000
        return None if narrow else "its callee has handlers enough"
    if "broke off" in data:
        if record.streamed and (record.dropped or record.overtaken):
            return None
        if callee_left(record, by=_now(record)):
            return None
        return "no packet of a stream was dropped or overtaken"
    return "nothing is known of that"


def _connection_timeout(record: CallRecord, _outcome: RpcError) -> str | None:
    latency = record.session.actor.profile.max_round_trip_latency
    if abs(elapsed(record) - latency) > EPSILON:
        return f"it should have after {latency:g} s"
    if record.plan.response_timeout <= latency:
        return "its response_timeout was the shorter of the two"
    if _something_was_lost(record) or transit(record) >= latency:
        return None
    return "nothing kept the acknowledgement from coming"


def _response_timeout(record: CallRecord, outcome: RpcError) -> str | None:
    plan = record.plan
    by_callee = "did not finish within" in (outcome.data or "")
    if not by_callee and abs(elapsed(record) - plan.response_timeout) > EPSILON:
        return f"it should have after {plan.response_timeout:g} s"
    seconds = plan.answer.seconds
    if plan.answer.call is not None:
        seconds += plan.answer.call.response_timeout
    if plan.answer.kind in ("hang", "linger") or _something_was_lost(record):
        return None
    if record.callee is not None and record.callee.profile.max_concurrent_handlers < 1000:
        return None
    if seconds + transit(record) >= record.seconds_at_least - WIRE_MARGIN:
        return None
    return "there was time enough"


def _recipient_disconnected(record: CallRecord, _outcome: RpcError) -> str | None:
    if caller_left(record) or callee_left(record, by=_now(record)):
        return None
    return "neither side had left"


def _response_too_large(record: CallRecord, _outcome: RpcError) -> str | None:
    return None if record.plan.answer.kind == "return too much" else "its answer was not too large"


def send_failed(record: CallRecord, _outcome: RpcError) -> str | None:
    """Return why a request could be sent: its caller learns a moment later that its link is cut."""
    is_cut = record.session.disturbed is not None
    return None if is_cut or caller_left(record) else "the connection was there"


def _never(_record: CallRecord, _outcome: RpcError) -> str | None:
    return "nothing in here makes that happen"


CHECKS: Final[Mapping[RpcError.ErrorCode, Check]] = {
    codes.UNSUPPORTED_METHOD: _unsupported_method,
    codes.RECIPIENT_NOT_FOUND: _recipient_not_found,
    codes.REQUEST_PAYLOAD_TOO_LARGE: request_too_large,
    codes.UNSUPPORTED_SERVER: _never,
    codes.UNSUPPORTED_VERSION: _never,
    codes.APPLICATION_ERROR: _application_error,
    codes.CONNECTION_TIMEOUT: _connection_timeout,
    codes.RESPONSE_TIMEOUT: _response_timeout,
    codes.RECIPIENT_DISCONNECTED: _recipient_disconnected,
    codes.RESPONSE_PAYLOAD_TOO_LARGE: _response_too_large,
    codes.SEND_FAILED: send_failed,
}


# The history


def _now(record: CallRecord) -> float:
    assert record.ended is not None
    return record.ended


def elapsed(record: CallRecord) -> float:
    return _now(record) - record.started


def transit(record: CallRecord) -> float:
    """Return the seconds for which a request and its response are in flight, at most."""
    callee = record.callee.profile.longest_delay if record.callee else 0.0
    return 2 * (record.session.actor.profile.longest_delay + callee) + record.held_up


def caller_left(record: CallRecord) -> bool:
    """Whether the caller is out of the room, since this moment or before."""
    ended = record.session.ended
    return ended is not None and ended <= _now(record)


def callee_left(record: CallRecord, *, by: float) -> bool:
    """Whether the caller saw the callee leave at this moment, or it did and said so."""
    seen = any(
        identity == record.plan.callee and record.started <= at <= by
        for identity, at in record.session.seen_leaving
    )
    return seen or (record.callee is not None and not record.callee.was_there(record.started, by))


def _something_was_lost(record: CallRecord) -> bool:
    """Whether a packet of the call did not arrive, or not in time."""
    since, until = record.started, _now(record)
    return (
        record.dropped
        or (record.overtaken and record.streamed)
        or record.session.actor.was_stalled(since, until)
        or (record.callee is not None and record.callee.was_stalled(since, until))
        # It had left, and nobody knew yet
        or (record.callee is not None and not record.callee.was_there(since, until))
    )
