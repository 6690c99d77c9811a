"""A program of LiveKit's Python SDK, which does the same with ours once a few lines are changed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from difflib import unified_diff
from pathlib import Path
from typing import Final

import pytest

from ..support.tokens import API_KEY, API_SECRET
from .pairs import SERVERS, ServerName
from .programs import PEERS
from .server import Server

PROGRAM: Final = PEERS / "kitchen.py"

#: What becomes of its lines.
CHANGES: Final = {
    "from livekit import api, rtc\n": "import trio_rpc as api\nimport trio_rpc as rtc\n",
    '    await cook.connect(url, token_of("cook"))\n': (
        '    async with cook.connect(url, token_of("cook")), '
        'waiter.connect(url, token_of("waiter")):\n'
    ),
    '    await waiter.connect(url, token_of("waiter"))\n': "",
    "    await spend_evening(cook, waiter)\n": "        await spend_evening(cook, waiter)\n",
    "    await waiter.disconnect()\n": "",
}

#: What it says, whoever serves and with either SDK.
SAYS: Final = """\
{"dish": "soup", "side": "salad", "for": "waiter"}
4040 no fish left
1500 Application error in method handler
1400 Method not supported at destination
1502 Response timeout
1503 Recipient disconnected
"""


def changed() -> str:
    """Return the program for this library."""
    text = PROGRAM.read_text()
    for old, new in CHANGES.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def test_at_most_ten_lines_are_changed() -> None:
    before, after = PROGRAM.read_text().splitlines(), changed().splitlines()
    lines = list(unified_diff(before, after, n=0, lineterm=""))[2:]
    assert len([line for line in lines if line[0] == "+"]) <= 10
    assert len([line for line in lines if line[0] == "-"]) <= 10


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("sdk", ["livekit", "trio_rpc"])
def test_it_says_the_same(
    server_of: Callable[[ServerName], Server], server: ServerName, sdk: str, tmp_path: Path
) -> None:
    program = PROGRAM
    if sdk == "trio_rpc":
        program = tmp_path / "kitchen.py"
        program.write_text(changed())
    variables = {
        "LIVEKIT_URL": server_of(server).url,
        "LIVEKIT_API_KEY": API_KEY,
        "LIVEKIT_API_SECRET": API_SECRET,
    }
    # LiveKit's SDK aborts its process now and then when it ends: the exit status says nothing.
    result = subprocess.run(
        [sys.executable, str(program), f"kitchen of {sdk}"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == SAYS, result.stderr
