"""The example of docs/howto/browser.md, run as its reader would run it, in a real browser."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Final

import pytest

from .program import ROOT, Program
from .user import EXAMPLE, User, read_until, server_of_examples, shell, user_with

CDN_VERSION: Final = re.compile(r"https://cdn\.jsdelivr\.net/npm/livekit-client@([\d.]+)/")


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    with server_of_examples() as environment:
        yield environment


@pytest.fixture
def user(browser: Program, environment: dict[str, str]) -> Iterator[User]:
    with user_with(EXAMPLE / "page.html", browser, environment) as user:
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


@pytest.mark.parametrize("name", ["page.html", "streams.html"])
def test_the_page_takes_the_version_that_is_tested(name: str) -> None:
    package = json.loads((ROOT / "tests/interop/peers/package.json").read_text())
    page = (EXAMPLE / name).read_text()
    assert CDN_VERSION.findall(page) == [package["dependencies"]["livekit-client"]]
