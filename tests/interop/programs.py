"""The programs that the tests run, and what they need on the machine."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

import pytest

PEERS: Final = Path(__file__).parent / "peers"

#: A Python that has version 1.0.12 of LiveKit's SDK; `nox -s interop` makes one.
OLD_PYTHON_VARIABLE: Final = "INTEROP_OLD_PYTHON"
#: The program of peers/golang; `nox -s interop` builds it.
GO_PEER_VARIABLE: Final = "INTEROP_GO_PEER"

#: A Python that has livekit-agents; `nox -s interop` makes one.
AGENTS_PYTHON_VARIABLE: Final = "INTEROP_AGENTS_PYTHON"

OLD: Final = "old python"
GO: Final = "go"
#: The kinds of participants, in the order of the table of results.
KINDS: Final = ("trio", "asyncio", "python", "node", "browser", GO, OLD)
OURS: Final = frozenset({"trio", "asyncio"})
#: The Debian packages of other programs.
_PACKAGES: Final = {"chromium": "chromium", "node": "nodejs npm"}
#: Those whose calls don't end when the callee leaves.
WAITING: Final = frozenset({"node", OLD})
#: Those who answer nothing where a handler's result is no text.
SILENT: Final = frozenset({"python", OLD})
#: Those who speak the first version of RPC alone.
FIRST_VERSION: Final = frozenset({GO, OLD})


def command_of(kind: str) -> list[str]:
    """Return the command line of the program for a kind of participants."""
    match kind:
        case "trio" | "asyncio":
            return [sys.executable, "-m", f"{__package__}.peers.ours", kind]
        case "python":
            return [sys.executable, "-m", f"{__package__}.peers.livekit_python"]
        case "go":
            return [_go_peer()]
        case "old python":
            return [_old_python(), "-m", f"{__package__}.peers.livekit_python"]
        case "node":
            return [*_node(), str(PEERS / "node.mjs")]
        case "browser":
            return [*_node(), str(PEERS / "browser.mjs"), _program("chromium")]
    raise AssertionError(kind)


def command_of_user() -> list[str]:
    """Return the command line of a user with a browser."""
    return [*_node(), str(PEERS / "user.mjs"), _program("chromium")]


def command_of_inspector() -> list[str]:
    """Return the command line of the MCP inspector."""
    return [*_node(), str(PEERS / "node_modules" / ".bin" / "mcp-inspector")]


def command_of_crowd() -> list[str]:
    """Return the command line of many participants of LiveKit's Python SDK."""
    return [sys.executable, "-m", f"{__package__}.peers.crowd"]


def _old_python() -> str:
    python = os.environ.get(OLD_PYTHON_VARIABLE)
    if not python:
        pytest.skip(
            f"${OLD_PYTHON_VARIABLE} names no Python with livekit 1.0.12: nox -s interop makes one"
        )
    return python


def agents_python() -> str:
    """Return the Python that has livekit-agents."""
    python = os.environ.get(AGENTS_PYTHON_VARIABLE)
    if not python:
        pytest.skip(
            f"${AGENTS_PYTHON_VARIABLE} names no Python with livekit-agents: nox -s interop makes "
            "one"
        )
    return python


def _go_peer() -> str:
    path = os.environ.get(GO_PEER_VARIABLE)
    if not path:
        pytest.skip(
            f"${GO_PEER_VARIABLE} names no program of peers/golang: nox -s interop builds it, "
            "where Go's modules can be had"
        )
    return path


def _node() -> list[str]:
    if not (PEERS / "node_modules").is_dir():
        pytest.skip(f"no node_modules in {PEERS}: run npm install there, or nox -s interop")
    return [_program("node")]


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: apt-get install {_PACKAGES[name]}")
    return path
