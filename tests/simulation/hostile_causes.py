"""The causes that the outcomes of calls to an adversary need.

An adversary may answer anything, at any time, and as often as it likes. The call still has one
outcome in time, and what was not made up by its callee needs a cause as in any other call.
"""

from __future__ import annotations

from trio_rpc import RpcError
from trio_rpc.protocol.stream_content import DEFAULT_MAX_STREAM_BYTES

from .causes import (
    EPSILON,
    caller_left,
    codes,
    elapsed,
    overdue,
    request_too_large,
    send_failed,
    why_not_cancelled,
)
from .records import CANCELLED, CallRecord

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def signature(identity: str) -> str:
    """Return the words by which an adversary's answers are known as its own."""
    return f"<by {identity}>"


def missing_hostile_cause(record: CallRecord) -> str | None:
    """Return why a call to an adversary must not have ended as it did; None when all is well."""
    outcome = record.outcome
    if problem := overdue(record):
        return problem
    if isinstance(outcome, str):
        return _why_not_returned(record, outcome)
    if isinstance(outcome, RpcError):
        return _why_not_raised(record, outcome)
    if record.outcome_name == CANCELLED:
        return why_not_cancelled(record)
    return "nothing of that kind may come out of a call"


def _why_not_returned(record: CallRecord, outcome: str) -> str | None:
    if signature(record.plan.callee) not in outcome:
        return "its callee did not say that"
    if _REPLACEMENT in outcome:
        return "an answer that is not UTF-8 is no answer"
    limit = record.session.actor.profile.limits.get("max_stream_bytes", DEFAULT_MAX_STREAM_BYTES)
    return "that is larger than a response may be" if len(outcome) > limit else None


def _why_not_raised(record: CallRecord, error: RpcError) -> str | None:
    if signature(record.plan.callee) in f"{error.message} {error.data}":
        return None
    plan = record.plan
    match error.code:
        case codes.RECIPIENT_NOT_FOUND:
            return None
        case codes.REQUEST_PAYLOAD_TOO_LARGE:
            return request_too_large(record, error)
        case codes.APPLICATION_ERROR if "broke off" in (error.data or ""):
            return None
        case codes.CONNECTION_TIMEOUT:
            return _at(record, record.session.actor.profile.max_round_trip_latency)
        case codes.RESPONSE_TIMEOUT:
            return _at(record, plan.response_timeout)
        case codes.RECIPIENT_DISCONNECTED:
            seen = any(identity == plan.callee for identity, _ in record.session.seen_leaving)
            return None if seen or caller_left(record) else "neither side had left"
        case codes.SEND_FAILED if (error.data or "").endswith("is full: it does not read"):
            return None
        case codes.SEND_FAILED:
            return send_failed(record, error)
    return "its callee did not say that"


def _at(record: CallRecord, seconds: float) -> str | None:
    if abs(elapsed(record) - seconds) > EPSILON:
        return f"it should have after {seconds:g} s"
    return None
