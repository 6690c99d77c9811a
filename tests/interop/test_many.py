"""Fifty participants of LiveKit's Python SDK in one room: calls, joins and leaves.

It takes ten seconds; `nox -s soak` takes two minutes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from ..support.tokens import make_token
from .program import running
from .programs import command_of_crowd
from .server import Server

PARTICIPANTS: Final = 50
SECONDS: Final = float(os.environ.get("INTEROP_SOAK_SECONDS", "10"))


def memory_of(server: Server) -> float:
    """Return the server's resident memory in MB."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


@pytest.mark.rule("C5", "V6")
def test_fifty_participants_call_each_other_while_they_come_and_go(
    trio_server: Server, logs: Path, report: Callable[[str], None]
) -> None:
    identities = [f"member {number}" for number in range(PARTICIPANTS)]
    tokens = {each: make_token(each, room="crowd") for each in identities}
    before = memory_of(trio_server)
    with running("crowd", command_of_crowd(), logs / "crowd", patience=SECONDS + 60) as program:
        command = program.send("crowd", "run", url=trio_server.url, tokens=tokens, seconds=SECONDS)
        program.event("crowd", event="joined")
        joined = memory_of(trio_server)
        program.event("crowd", event="done")
        done = memory_of(trio_server)
        program.send("crowd", "leave")
        counts = program.answer(command)["result"]
    after = memory_of(trio_server)
    report(
        f"{PARTICIPANTS} participants of LiveKit's Python SDK in one room for {SECONDS:g} s: "
        f"{counts['answered']:,} calls answered, {counts.get('missed', 0)} whose callee left "
        f"meanwhile, {counts['joins'] - PARTICIPANTS} left and came back. The server had "
        f"{before:.0f} MB before they came, {joined:.0f} MB when they had joined, {done:.0f} MB at "
        f"the end, {after:.0f} MB when they had gone."
    )
    assert counts.keys() <= {"answered", "missed", "joins"}, counts
    assert counts["answered"] > PARTICIPANTS * SECONDS / 2
