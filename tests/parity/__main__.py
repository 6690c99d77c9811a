"""`python -m tests.parity`: print what the installed `livekit` has and we lack."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import get_args

from livekit import rtc
from livekit.rtc.room import EventTypes

import trio_rpc
from trio_rpc.events import EventName

from .allowed import MEDIA, MEDIA_EVENTS, NOT_CALLED, OF_MEDIA, OTHERS
from .comparison import missing_in


def main() -> int:
    """Print the differences; return the exit code."""
    allowed = MEDIA | OF_MEDIA | OTHERS.keys() | {f"{name}.__init__" for name in NOT_CALLED}
    missing = [*missing_in(trio_rpc, rtc, allowed)]
    events = {*get_args(EventTypes)} - {*get_args(EventName)} - MEDIA_EVENTS
    missing += [f"event {name}" for name in sorted(events)]
    print(f"livekit {version('livekit')} has, and trio_rpc lacks:")
    print(*missing or ["nothing"], sep="\n")
    return 1 if missing else 0


sys.exit(main())
