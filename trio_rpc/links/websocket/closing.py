"""The reasons for the end of a WebSocket, as they are sent and as they were received."""

from __future__ import annotations

from typing import Final

from ...protocol.limits import truncate_utf8
from ..base import LinkClosedError

_MAX_CLOSE_REASON_BYTES: Final = 120


def closed_with(code: int, reason: str) -> LinkClosedError:
    """Return the error of a link whose WebSocket the other side has closed."""
    return LinkClosedError(f"the WebSocket was closed with {code}: {reason or 'no reason given'}")


def close_reason(reason: str) -> str | None:
    """Cut `reason` to the size of a WebSocket's close frame, which holds 125 bytes."""
    return truncate_utf8(reason, _MAX_CLOSE_REASON_BYTES) or None
