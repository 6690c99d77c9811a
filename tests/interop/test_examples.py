"""The example of docs/howto/browser.md, run as its reader would run it, in a real browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from attrs import frozen

from .program import ROOT, Program, running
from .programs import command_of_user

EXAMPLE: Final = ROOT / "docs" / "examples" / "browser"
CDN_VERSION: Final = re.compile(r"https://cdn\.jsdelivr\.net/npm/livekit-client@([\d.]+)/")


@contextmanager
def shell(*command: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a shell of its own, until the block ends."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Read the output of a command, up to a line with the text."""
    assert process.stdout is not None
    lines = ""
    for line in process.stdout:
        lines += line
        if text in line:
            return lines
    raise AssertionError(f"no {text!r} in:\n{lines}")


@frozen
class User:
    """A user with a browser."""

    program: Program

    def open(self, url: str) -> None:
        self._do("open", url=url)

    def click(self, button: str) -> None:
        self._do("click", button=button)

    def pick(self, colour: str) -> None:
        self._do("pick", colour=colour)

    def read(self, text: str) -> None:
        """Wait until the page says something."""
        self._do("read", text=text)

    def _do(self, do: str, **arguments: str) -> None:
        answer = self.program.answer(self.program.send("user", do, **arguments))
        assert "result" in answer, answer


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """`trio-rpc serve --dev` runs; what it says to export."""
    with shell(sys.executable, "-m", "trio_rpc", "serve", "--dev") as server:
        announcement = read_until(server, "Press Ctrl-C")
        yield dict(re.findall(r"export (\w+)=(\S+)", announcement))


@pytest.fixture
def user(logs: Path, environment: dict[str, str]) -> Iterator[User]:
    """A user who has opened the page with a token."""
    command = ["token", "create", "--dev", "--identity", "page", "--room", "demo"]
    token = subprocess.run(
        [sys.executable, "-m", "trio_rpc", *command], check=True, capture_output=True, text=True
    ).stdout.strip()
    with running("user", command_of_user(), logs / "user") as program:
        user = User(program)
        user.open(f"{(EXAMPLE / 'page.html').as_uri()}#{token}")
        user.read("Joined")
        yield user


def test_a_page_calls_a_backend_which_asks_back(user: User, environment: dict[str, str]) -> None:
    with shell(sys.executable, str(EXAMPLE / "backend.py"), env=environment) as backend:
        read_until(backend, "Waiting for orders")
        user.click("Order leek soup")
        user.read("Cook leek soup for four?")
        user.click("No")
        user.read("Nothing was ordered.")
        user.click("Order leek soup")
        user.read("Cook leek soup for four?")
        user.click("Yes")
        user.read("The leek soup is on the stove.")
        assert read_until(backend, "Cooking") == "Cooking leek soup for page\n"


def test_an_agent_forwards_a_tool_call_to_the_page(user: User, environment: dict[str, str]) -> None:
    with shell(sys.executable, str(EXAMPLE / "agent.py"), env=environment) as agent:
        user.read("Which colour shall the kitchen have?")
        user.pick("#ff8800")
        user.click("Yes")
        assert read_until(agent, "The tool said") == 'The tool said: {"colour":"#ff8800"}\n'
        assert agent.wait() == 0


def test_the_model_gets_the_error_of_a_tool_that_fails(
    user: User, environment: dict[str, str]
) -> None:
    with shell(sys.executable, str(EXAMPLE / "agent.py"), env=environment) as agent:
        user.read("Which colour shall the kitchen have?")
        user.click("No")
        assert read_until(agent, "The tool said") == "The tool said: No colour was picked\n"
        assert agent.wait() == 0


def test_the_page_takes_the_version_that_is_tested() -> None:
    package = json.loads((ROOT / "tests/interop/peers/package.json").read_text())
    page = (EXAMPLE / "page.html").read_text()
    assert CDN_VERSION.findall(page) == [package["dependencies"]["livekit-client"]]
