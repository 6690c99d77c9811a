"""Streamed answers and progress of docs/examples/browser, between a program and a real browser."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

import anyio
import pytest

from trio_rpc import AccessToken, Room, VideoGrants

from ..support.tokens import API_KEY, API_SECRET
from ..support.waiting import wait_until
from .program import Program
from .server import Server
from .user import EXAMPLE, User, read_until, server_of_examples, shell, user_with

URL_OF_PAGE: Final = "ws://127.0.0.1:7880"
#: Code of a test at the end of the page, which has no buttons for it.
MORE_CODE: Final = """
  registerStream('count', async function* ({ size, until }) {
    let stop;
    window.ended = new Promise((resolve) => (stop = resolve));
    try {
      for (let number = 0; number < until; number++) yield String(number).padStart(size);
    } finally {
      stop('ended');
    }
  });
  window.count = async (until) => {
    let counted = 0;
    for await (const item of stream('counter', 'count', { size: 1000, until })) {
      if (Number(item) !== counted++) throw new Error(`${item} in place of ${counted - 1}`);
    }
    return counted;
  };
"""
#: Items of 1,000 bytes: several windows of them.
MANY: Final = 500


@pytest.fixture(params=["trio", "asyncio", "livekit-server"])
def environment(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Programs find a server by it: ours on either backend, or LiveKit's."""
    if request.param != "livekit-server":
        with server_of_examples(request.param) as environment:
            yield environment
        return
    server: Server = request.getfixturevalue("livekit_server")
    yield {
        "LIVEKIT_URL": server.url,
        "LIVEKIT_API_KEY": API_KEY,
        "LIVEKIT_API_SECRET": API_SECRET,
    }


@pytest.fixture
def user(browser: Program, environment: dict[str, str], tmp_path: Path) -> Iterator[User]:
    page = tmp_path / "streams.html"
    text = (EXAMPLE / page.name).read_text()
    assert URL_OF_PAGE in text
    text = text.replace(URL_OF_PAGE, environment["LIVEKIT_URL"])
    page.write_text(text.replace("</script>", f"{MORE_CODE}</script>"))
    with user_with(page, browser, environment) as user:
        yield user


@contextmanager
def backend(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(EXAMPLE / "streams.py"), *arguments]
    with shell(*command, env=environment) as process:
        read_until(process, "Joined")
        yield process


@pytest.mark.rule("T15", "T8", "T9")
def test_a_page_takes_a_stream_and_hears_progress(user: User, environment: dict[str, str]) -> None:
    with backend(environment) as program:
        user.click("Watch the pan")
        user.match("°C$")
        user.click("Stop")
        user.read("Stopped watching")
        read_until(program, "Nobody watches the pan any more")
        user.click("Bake bread")
        user.read("Bread for page, after 4 reports")


@pytest.mark.rule("T15", "T8", "T9")
def test_a_page_streams_and_reports_progress(user: User, environment: dict[str, str]) -> None:
    with backend(environment, "--ask") as program:
        for spoon in 1, 2, 3:
            user.read(f"How is spoon {spoon} of the soup?")
            user.click("Taste")
            read_until(program, f"Spoon {spoon} of soup")
        for guest in 1, 2:
            user.read(f"Is the soup good enough for guest {guest}?")
            user.click("Taste")
            read_until(program, f"{guest} of 2")
        user.read("Dinner is served")
        assert read_until(program, "Served") == "Served 2\n"


@pytest.mark.rule("T15", "T8")
def test_a_page_that_is_closed_takes_no_more(user: User, environment: dict[str, str]) -> None:
    with backend(environment) as program:
        user.click("Watch the pan")
        user.match("°C$")
        user.leave()
        read_until(program, "Nobody watches the pan any more")


@pytest.mark.rule("T8")
def test_a_page_that_is_closed_ends_its_items(user: User, environment: dict[str, str]) -> None:
    with backend(environment, "--ask") as program:
        user.read("How is spoon 1 of the soup?")
        user.click("Taste")
        read_until(program, "Spoon 1 of soup")
        user.leave()
        assert read_until(program, "1503").startswith("1503 Recipient disconnected")


class Counting(Protocol):
    def count(self, size: int, until: int) -> AsyncIterator[str]: ...


async def count(size: int, until: int) -> AsyncIterator[str]:
    for number in range(until):
        yield f"{number:>{size}}"


@pytest.mark.rule("T15", "T8")
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_neither_side_is_ahead_of_the_other_by_more_than_its_window(
    user: User, environment: dict[str, str], backend: str
) -> None:
    grants = VideoGrants(room_join=True, room="demo")
    keys = environment["LIVEKIT_API_KEY"], environment["LIVEKIT_API_SECRET"]
    token = AccessToken(*keys).with_identity("counter").with_grants(grants).to_jwt()

    async def main() -> None:
        # An eighth of the items overflow it.
        room = Room(max_stream_bytes=60_000)
        room.method(count)
        async with room.connect(environment["LIVEKIT_URL"], token):
            await room.wait_for_participant("page")
            counted = await anyio.to_thread.run_sync(user.run, f"window.count({MANY})")
            assert counted == MANY
            async with room.stream(Counting.count, "page", size=1_000, until=MANY) as items:
                await wait_until(lambda: room.statistics().held_bytes > 10_000)
                assert [int(item) async for item in items] == [*range(MANY)]
            async with room.stream(Counting.count, "page", size=1_000, until=10**9) as items:
                assert int(await anext(items)) == 0
            ended = await anyio.to_thread.run_sync(user.run, "window.ended")
            assert ended == "ended"

    anyio.run(main, backend=backend)
