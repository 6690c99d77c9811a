"""Leaving a room that was joined in vain."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress

from livekit.protocol import models, rtc

from .base import Channel, Frame, Link, LinkClosedError, LinkFullError


@contextmanager
def leaving_on_failure(link: Link) -> Generator[None]:
    """Leave the room if the block fails or is cancelled before there is a session.

    The server may have admitted us, and would wait for us to come back.
    """
    try:
        yield
    except BaseException:
        leave = rtc.LeaveRequest(reason=models.CLIENT_INITIATED)
        body = rtc.SignalRequest(leave=leave).SerializeToString()
        with suppress(LinkFullError, LinkClosedError):
            link.send_nowait(Frame(Channel.SIGNAL, body))
        raise
