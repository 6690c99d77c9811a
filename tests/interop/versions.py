"""The versions in a run, for docs/interop.md."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import version
from typing import Any

from ..support.livekit_server import LIVEKIT_SERVER_VARIABLE
from .programs import OLD_PYTHON_VARIABLE, PEERS


def versions() -> str:
    """Return a table of all versions in Markdown."""
    packages: dict[str, Any] = json.loads((PEERS / "package.json").read_text())["dependencies"]
    old = "import importlib.metadata as m; print(m.version('livekit'))"
    rows = {
        "trio, asyncio": f"this library, on Python {platform.python_version()}, "
        f"trio {version('trio')}, anyio {version('anyio')}, aiortc {version('aiortc')}",
        "python": f"`livekit` {version('livekit')}",
        "old python": f"`livekit` {_output_of(os.environ.get(OLD_PYTHON_VARIABLE), '-c', old)}",
        "node": f"`@livekit/rtc-node` {packages['@livekit/rtc-node']}, "
        f"on Node {_output_of(shutil.which('node'), '--version')}",
        "browser": f"`livekit-client` {packages['livekit-client']}, "
        f"in {_output_of(shutil.which('chromium'), '--version')}",
    }
    sdk = re.search(r"server-sdk-go/v2 v(\S+)", (PEERS / "golang" / "go.mod").read_text())
    assert sdk
    rows["go"] = f"`server-sdk-go` {sdk[1]}"
    server = _output_of(os.environ.get(LIVEKIT_SERVER_VARIABLE), "--version")
    rows["livekit-server"] = server.removeprefix("livekit-server version ")
    lines = [f"| {kind} | {what} |" for kind, what in rows.items()]
    return "\n".join(["| participant | version |", "|---|---|", *lines])


def _output_of(program: str | None, *arguments: str) -> str:
    if program is None:
        return "none, since this machine lacks it"
    result = subprocess.run(
        [program, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return result.stdout.strip()
