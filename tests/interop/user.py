"""A user of an example, with a browser and shells."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from trio_rpc import AccessToken, VideoGrants

from .program import ROOT, Program

EXAMPLE: Final = ROOT / "docs" / "examples" / "browser"


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

    def match(self, pattern: str) -> None:
        """Wait until the page says something that matches a pattern."""
        self._do("match", pattern=pattern)

    def run(self, code: str) -> Any:
        """Run code in the page, and return what it comes to, or its promise does."""
        return self._do("run", code=code)

    def leave(self) -> None:
        """Close the page."""
        self._do("leave")

    def _do(self, do: str, **arguments: str) -> Any:
        answer = self.program.answer(self.program.send("user", do, **arguments))
        assert "result" in answer, answer
        return answer["result"]


@contextmanager
def server_of_examples(backend: str = "trio") -> Iterator[dict[str, str]]:
    """Run `trio-rpc serve --dev` in the block; yield what it says to export."""
    command = [sys.executable, "-m", "trio_rpc", "serve", "--dev", "--backend", backend]
    with shell(*command) as server:
        announcement = read_until(server, "Press Ctrl-C")
        yield dict(re.findall(r"export (\w+)=(\S+)", announcement))


@contextmanager
def user_with(page: Path, browser: Program, environment: dict[str, str]) -> Iterator[User]:
    """Yield a user who has joined from a page, which is closed in the end."""
    key, secret = environment["LIVEKIT_API_KEY"], environment["LIVEKIT_API_SECRET"]
    grants = VideoGrants(room_join=True, room="demo")
    token = AccessToken(key, secret).with_identity("page").with_grants(grants)
    user = User(browser)
    user.open(f"{page.as_uri()}#{token.to_jwt()}")
    try:
        user.read("Joined")
        yield user
    finally:
        user.leave()
