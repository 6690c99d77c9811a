"""The errors of calls that have no answer: 1401, 1501, 1502, 1503 and 1505."""

from __future__ import annotations

from ..errors import RpcError
from ..protocol.rpc_messages import may_have_run
from .pending_call import PendingCall


def not_found(identity: str) -> RpcError:
    """Return the error of a call that was not sent to a callee that did not come back."""
    what = f"no participant {identity!r} is in the room"
    return RpcError.built_in(RpcError.ErrorCode.RECIPIENT_NOT_FOUND, what)


def not_back(call: PendingCall) -> RpcError:
    """Return the error of a call that was sent to a callee that did not come back."""
    return may_have_run(f"{call.callee.identity!r} did not come back")


def not_sent(call: PendingCall, error: Exception) -> RpcError:
    """Return the error of a call whose request could not be sent."""
    what = f"the request to {call.callee.identity!r} was not sent: {error}"
    failure = RpcError.built_in(RpcError.ErrorCode.SEND_FAILED, what)
    failure.__cause__ = error
    return failure


def unanswered(call: PendingCall) -> RpcError:
    """Return the error of a call that was sent, and not answered in time (C1, C2)."""
    method, timeout = call.method, float(call.response_timeout)
    code = RpcError.ErrorCode.RESPONSE_TIMEOUT
    if call.is_acknowledged:
        what = f"acknowledged {method!r} but did not answer it within {timeout:g} s"
    elif call.ack_by >= call.respond_by:
        what = f"neither acknowledged nor answered {method!r} within {timeout:g} s"
    else:
        code = RpcError.ErrorCode.CONNECTION_TIMEOUT
        what = f"did not acknowledge {method!r} within {float(call.max_round_trip_latency):g} s"
    return RpcError.built_in(code, f"{call.callee.identity!r} {what}")


def disconnected(reason: str) -> RpcError:
    """Return the error of a call whose callee, or whose caller, has left."""
    return RpcError.built_in(RpcError.ErrorCode.RECIPIENT_DISCONNECTED, reason)
