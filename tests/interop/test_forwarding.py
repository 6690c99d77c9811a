"""The tools of agents, forwarded to the page of docs/examples/browser in a real browser."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any, Final

import anyio
import pytest
from mcp import Client, StdioServerParameters

from .program import Program
from .programs import agents_python
from .user import EXAMPLE, User, read_until, server_of_examples, shell, user_with

AGENT: Final = str(EXAMPLE / "livekit_agent.py")
SERVER: Final = [str(EXAMPLE / "mcp_server.py")]
COMMAND: Final = ["-m", "trio_rpc", "mcp", "page", "--allow", "*", "--room", "demo", "--timeout=60"]


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    with server_of_examples() as environment:
        yield environment


@pytest.fixture
def user(browser: Program, environment: dict[str, str]) -> Iterator[User]:
    with user_with(EXAMPLE / "page.html", browser, environment) as user:
        yield user


@pytest.mark.rule("T12")
def test_the_tool_of_a_livekit_agent_is_a_method_of_a_page(
    user: User, environment: dict[str, str]
) -> None:
    with shell(agents_python(), AGENT, env=environment) as agent:
        user.read("Which colour shall the kitchen have?")
        user.pick("#ff8800")
        user.click("Yes")
        assert read_until(agent, "The tool said") == "The tool said: {'colour': '#ff8800'}\n"
        assert agent.wait() == 0


@pytest.mark.rule("T12")
def test_the_model_of_a_livekit_agent_reads_the_error_of_a_page(
    user: User, environment: dict[str, str]
) -> None:
    with shell(agents_python(), AGENT, env=environment) as agent:
        user.read("Which colour shall the kitchen have?")
        user.click("No")
        assert "No colour was picked" in read_until(agent, "The tool said")
        assert agent.wait() == 0


@pytest.mark.rule("T12", "T11")
@pytest.mark.parametrize("arguments", [SERVER, COMMAND], ids=["forward_tool", "trio-rpc mcp"])
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_an_mcp_client_has_the_methods_of_a_page(
    user: User, environment: dict[str, str], arguments: list[str], backend: str
) -> None:
    server = StdioServerParameters(
        command=sys.executable, args=arguments, env={**os.environ, **environment}
    )

    async def answer(button: str) -> None:
        await anyio.to_thread.run_sync(user.read, "Tea?")
        await anyio.to_thread.run_sync(user.click, button)

    async def call(client: Client, button: str) -> Any:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer, button)
            return await client.call_tool("confirm", {"question": "Tea?"})

    async def main() -> None:
        async with Client(server) as client:
            tools = {each.name: each for each in (await client.list_tools()).tools}
            assert [*tools] == ["confirm", "pick_colour"]
            description = tools["confirm"].description or ""
            assert description.startswith("Ask the user a question")
            assert tools["confirm"].input_schema["required"] == ["question"]
            for button, confirmed in ("Yes", True), ("No", False):
                result = await call(client, button)
                assert not result.is_error
                assert json.loads(result.content[0].text) == {"confirmed": confirmed}
            await anyio.to_thread.run_sync(user.leave)
            result = await client.call_tool("confirm", {"question": "Tea?"})
            assert result.is_error

    anyio.run(main, backend=backend)
