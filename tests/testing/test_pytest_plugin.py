"""The fixtures, in tests as a user would write them."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest

from trio_rpc.testing import pytest_plugin

PLUGIN: Final = "trio_rpc.testing.pytest_plugin"

#: Three tests; `MARK` is what makes a test run.
TESTS: Final = """
    import pytest
    from trio_rpc import Room, RpcError

    {preamble}

    async def greet(data):
        return f"Hello, {{data.caller_identity}}!"

    async def call(room, identity):
        return await room.local_participant.perform_rpc(
            destination_identity=identity, method="greet", payload=""
        )

    {mark}
    async def test_rooms(rpc_rooms, rpc_server):
        async with rpc_rooms("alice", "bob") as (alice, bob):
            bob.register_rpc_method("greet", greet)
            assert await call(alice, "bob") == "Hello, alice!"
            assert rpc_server.statistics().participants == 2

    {mark}
    async def test_join_room(join_room):
        ui = Room()
        async with join_room("ui", ui) as joined, join_room("ghost", hidden=True) as ghost:
            assert joined is ui
            assert not ui.remote_participants
            with pytest.raises(RpcError):
                await call(ghost, "ui")

    {mark}
    async def test_server(rpc_server):
        room = Room()
        async with room.connect(rpc_server, rpc_server.token("alice")):
            assert room.isconnected()
        assert rpc_server.statistics().participants == 0
"""


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    # Whether or not the entry point is installed.
    return pytester.runpytest_inprocess("-p", "no:trio_rpc", "-p", PLUGIN, *options)


def test_the_fixtures_work_with_anyio_on_trio_and_asyncio(pytester: pytest.Pytester) -> None:
    preamble = "pytestmark = pytest.mark.anyio"
    pytester.makepyfile(dedent(TESTS.format(preamble=preamble, mark="")))
    result = run(pytester, "-v")
    result.assert_outcomes(passed=6)
    for backend in ("trio", "asyncio"):
        result.stdout.fnmatch_lines([f"*test_rooms?{backend}? PASSED*"])


def test_the_fixtures_work_with_pytest_trio(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(dedent(TESTS.format(preamble="", mark="@pytest.mark.trio")))
    run(pytester).assert_outcomes(passed=3)


def test_the_fixtures_need_no_plugin_that_runs_async_tests(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio

        def test_rooms(rpc_rooms):
            async def main():
                async with rpc_rooms("alice", "bob") as (alice, _):
                    return [*alice.remote_participants]

            assert asyncio.run(main()) == ["bob"]
        """
    )
    run(pytester, "-p", "no:trio", "-p", "no:anyio").assert_outcomes(passed=1)


def test_each_test_has_a_server_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        SERVERS = []

        @pytest.mark.parametrize("time", [1, 2])
        def test_server(rpc_server, time):
            assert rpc_server not in SERVERS
            SERVERS.append(rpc_server)
        """
    )
    run(pytester).assert_outcomes(passed=2)


def test_virtual_time_works_with_the_fixtures(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import anyio
        import pytest
        from trio_rpc import RpcError
        from trio_rpc.testing import virtual_time_backend

        pytestmark = pytest.mark.anyio

        @pytest.fixture(params=["trio", "asyncio"])
        def anyio_backend(request):
            return virtual_time_backend(request.param)

        async def test_a_handler_that_is_too_slow(rpc_rooms):
            async def sleep(data):
                await anyio.sleep(7200)

            async with rpc_rooms("alice", "bob") as (alice, bob):
                bob.register_rpc_method("sleep", sleep)
                started = anyio.current_time()
                with pytest.raises(RpcError) as raised:
                    await alice.local_participant.perform_rpc(
                        destination_identity="bob",
                        method="sleep",
                        payload="",
                        response_timeout=3600,
                    )
                assert raised.value.code == 1502
                assert 3599 < anyio.current_time() - started <= 3600
        """
    )
    run(pytester).assert_outcomes(passed=2)


def test_the_fixtures_are_listed_with_what_they_are_for(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--fixtures")
    for fixture, description in (
        ("rpc_server", "A room server in memory"),
        ("join_room", "Join a room of `rpc_server`"),
        ("rpc_rooms", "Several participants of `rpc_server`"),
    ):
        lines = [f"{fixture} -- *pytest_plugin.py:*", f"    {description}*"]
        result.stdout.fnmatch_lines(lines, consecutive=True)


def test_the_plugin_is_registered_by_an_entry_point() -> None:
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    (name, value), *others = pyproject["project"]["entry-points"]["pytest11"].items()
    assert not others
    assert EntryPoint(name, value, "pytest11").load() is pytest_plugin
