"""`trio-rpc` in a shell, which knows the server from the environment and needs no flag for it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from ..cli.command import run
from ..cli.shells import shell
from ..support.tokens import API_KEY, API_SECRET
from .conftest import Cast, Programs
from .pairs import SERVERS, ServerName
from .program import Peer
from .server import Server

pytestmark = pytest.mark.parametrize("server", SERVERS, indirect=True)

ROOM = "a shell's"


@pytest.fixture
def server(request: pytest.FixtureRequest, server_of: Callable[[ServerName], Server]) -> Server:
    return server_of(request.param)


@pytest.fixture
def variables(server: Server) -> dict[str, str]:
    """The environment that names the server."""
    return {
        "LIVEKIT_URL": server.url,
        "LIVEKIT_API_KEY": API_KEY,
        "LIVEKIT_API_SECRET": API_SECRET,
    }


@pytest.fixture
def guest(server: Server, programs: Programs, variables: dict[str, str]) -> Peer:
    """A participant of LiveKit's Python SDK, with a token of the command."""
    identity = f"guest on {server.url}"
    made = run("token", "create", "--identity", identity, "--room", ROOM, **variables)
    assert (made.returncode, made.stderr) == (0, "")
    peer = Peer(programs.get("python"), identity)
    peer.join(server.url, made.stdout.strip())
    return peer


def test_call_and_answer(variables: dict[str, str], server: Server, programs: Programs) -> None:
    upper = ("answer", "upper", "--room", ROOM, "--identity", "alice", "--", "tr", "a-z", "A-Z")
    with shell(*upper, ready="answers to 'upper' as 'alice'", **variables) as alice:
        called = run("call", "alice", "upper", "hello", "--room", ROOM, **variables)
        assert (called.returncode, called.stdout, called.stderr) == (0, "HELLO\n", "")
        sdk = Cast(ROOM, server.url, programs, f" on {server.url}").peer("python", "shouts")
        assert sdk.call("alice", "upper", "soup") == "SOUP"
        sdk.leave()
        code, output, errors = alice.end()
    assert (code, output) == (0, "")
    assert len(re.findall(r"^.*: upper, \d bytes: answered", errors, re.MULTILINE)) == 2


def test_a_call_to_one_of_livekits(variables: dict[str, str], guest: Peer) -> None:
    called = run("call", guest.identity, "fail", "--room", ROOM, "--wait", "20", **variables)
    guest.leave()
    assert (called.returncode, called.stdout) == (4, "")
    assert "4321" in called.stderr
    assert "out of milk" in called.stderr


def test_send_and_listen(variables: dict[str, str], guest: Peer) -> None:
    listen = ("listen", "--room", ROOM, "--identity", "ear", "--json", "--topic", "text")
    with shell(*listen, ready="listens", **variables) as ear:
        guest.wait_for("sees", who="ear")
        guest.send_text("soup " * 10_000, "ear")
        sent = run("send", "--data", "soup's on", "--room", ROOM, **variables)
        assert (sent.returncode, sent.stdout, sent.stderr) == (0, "", "")
        assert guest.wait_for("data")["payload"] == "soup's on"
        assert ear.process.stdout is not None
        wanted = {"text_received", "data_received"}
        events: dict[str, dict[str, Any]] = {}
        while wanted - events.keys():
            event = json.loads(ear.process.stdout.readline())
            events[event["event"]] = event
        assert ear.end()[0] == 0
    guest.leave()
    assert events["text_received"]["participant"] == guest.identity
    assert events["text_received"]["text"] == "soup " * 10_000
    assert events["data_received"]["data_packet"]["text"] == "soup's on"
