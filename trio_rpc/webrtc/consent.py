"""Noticing that a client is gone, by ICE's checks of its consent (RFC 7675).

aioice takes half a minute, and then ends the connection without a reason. As on LiveKit's server, a
client is gone after the time in which one that pings would be, whether or not it pings (V9).

The parts of aioice that are used here are private; the extra `livekit` bounds its version.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

import aioice
from aioice.stun import RETRY_RTO, TransactionError

#: The unanswered checks after which a client is gone.
_CHECKS: Final = 5


def check_consent(ice: aioice.Connection, seconds: float, on_lost: Callable[[], None]) -> None:
    """Check the consent of a client in place of aioice, once the connection is up.

    Args:
        seconds: Seconds without an answer after which the client is gone.
        on_lost: Called when it is.
    """

    async def query_consent() -> None:
        # Counted, and not timed: time in which this process did not run is no silence.
        unanswered = 0
        while unanswered < _CHECKS:
            await asyncio.sleep(_pause(seconds) * random.uniform(0.8, 1.2))
            unanswered = 0 if await _is_answered(ice) else unanswered + 1
        on_lost()

    ice.query_consent = query_consent  # type: ignore[method-assign]


def _pause(seconds: float) -> float:
    """Return the time between two checks; an unanswered one takes `RETRY_RTO` besides."""
    interval = seconds / _CHECKS
    return max(interval - RETRY_RTO, interval / 2)


async def _is_answered(ice: aioice.Connection) -> bool:
    assert ice.remote_password is not None
    key = ice.remote_password.encode()
    for pair in ice._nominated.values():
        request = ice.build_request(pair, nominate=False)
        try:
            await pair.protocol.request(
                request, pair.remote_addr, integrity_key=key, retransmissions=0
            )
        except TransactionError:
            return False
    return True
