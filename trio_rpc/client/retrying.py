"""Making a call again, by a policy (rule T4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from .. import concurrency
from ..errors import RpcError
from ..protocol.retry import Retry

T = TypeVar("T")


async def retried(retry: Retry, seconds: float, attempt: Callable[[float], Awaitable[T]]) -> T:
    """Make a call until it succeeds, or must not be made again.

    Args:
        retry: The policy.
        seconds: The time for all attempts and the delays between them.
        attempt: Makes the call, within the seconds that it is given.

    Raises:
        RpcError: the call failed, and for the last time.
    """
    backend = concurrency.current()
    deadline = backend.current_time() + seconds
    for delay in retry.delays():
        try:
            return await attempt(deadline - backend.current_time())
        except RpcError as error:
            remaining = deadline - backend.current_time()
            if not retry.allows(error) or delay >= remaining:
                raise
        await backend.sleep(delay)
    return await attempt(deadline - backend.current_time())
