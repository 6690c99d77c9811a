"""Interceptors: code around all calls of a participant, and around all invocations of its methods.

The first that was added is the outermost. A call goes through those that were there when it began.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeAlias

from attrs import define

from .invocation_data import RpcInvocationData


@define
class RpcCallInfo:
    """A call of ours, as an interceptor sees it; the arguments of `perform_rpc`.

    An interceptor may pass on a copy with other values, which `attrs.evolve` makes.

    Attributes:
        destination_identity: The identity of the callee.
        method: The name of the method.
        payload: The payload of the request.
        response_timeout: Seconds that the whole call may take; None for the default.
        max_round_trip_latency: Seconds in which the callee must acknowledge the call; None for the
            room's.
    """

    destination_identity: str
    method: str
    payload: str
    response_timeout: float | None = None
    max_round_trip_latency: float | None = None


#: Makes the call; see `RpcInterceptor.intercept_outgoing`.
OutgoingRpcNext: TypeAlias = Callable[[RpcCallInfo], Awaitable[str]]
#: Runs the handler; see `RpcInterceptor.intercept_incoming`.
IncomingRpcNext: TypeAlias = Callable[[RpcInvocationData], Awaitable[str | None]]


class RpcInterceptor:
    """The base class of interceptors, which lets everything through; override either method.

    Each gets the call and `next`, which goes on with it, and returns what `next` returns, or
    something else in place of it. Errors come out of `next` as they are: an `RpcError`, or on the
    callee's side whatever the handler raised. An interceptor that raises in place of it answers the
    call with that. It may be cancelled in any `await`, as the code around it.
    """

    async def intercept_outgoing(
        self,
        call: RpcCallInfo,
        next: OutgoingRpcNext,  # noqa: A002
    ) -> str:
        """Make a call of ours, and return its response."""
        return await next(call)

    async def intercept_incoming(
        self,
        invocation: RpcInvocationData,
        next: IncomingRpcNext,  # noqa: A002
    ) -> str | None:
        """Run the handler of an invocation, and return its result.

        The caller's timeout covers all of it. For a method that is not registered, `next` raises
        1400.
        """
        return await next(invocation)


def chain_outgoing(
    interceptors: Sequence[RpcInterceptor], perform: OutgoingRpcNext
) -> OutgoingRpcNext:
    """Return a function that makes a call through interceptors."""
    for interceptor in reversed(interceptors):
        perform = partial(_outgoing, interceptor, perform)
    return perform


def _outgoing(
    interceptor: RpcInterceptor, perform: OutgoingRpcNext, call: RpcCallInfo
) -> Awaitable[str]:
    return interceptor.intercept_outgoing(call, perform)


def chain_incoming(
    interceptors: Sequence[RpcInterceptor], handle: IncomingRpcNext
) -> IncomingRpcNext:
    """Return a function that runs a handler through interceptors."""
    for interceptor in reversed(interceptors):
        handle = partial(_incoming, interceptor, handle)
    return handle


def _incoming(
    interceptor: RpcInterceptor, handle: IncomingRpcNext, invocation: RpcInvocationData
) -> Awaitable[str | None]:
    return interceptor.intercept_incoming(invocation, handle)
