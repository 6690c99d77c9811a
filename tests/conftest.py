"""Backends and fixtures of all tests.

An async test is marked `anyio` (mostly by `pytestmark`) and runs once on each backend: on trio with
its autojump clock and on asyncio with an event loop that does the same, so that no test waits for
time to pass. A test marked `real_time` runs on the real clock. On either, a test that only waits
fails after `time_limit`, and one that blocks after `alarm`, so that no wait in a test needs a limit
of its own.

`--backend` chooses one backend, or several. On uvloop, whose time cannot jump, only the `real_time`
tests run; tests that run no event loop of ours run with trio, so that they run once in a matrix.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from inspect import iscoroutinefunction
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, settings

from trio_rpc import Room
from trio_rpc.client.loss import OnDisconnect
from trio_rpc.client.reconnecting import DEFAULT_RECONNECT_POLICY, ReconnectPolicy
from trio_rpc.protocol.logs import PeerFilter
from trio_rpc.server import RoomServer, serve
from trio_rpc.testing import virtual_time_backend

from .support.time_limit import alarm, limited, time_limit
from .support.tokens import API_KEYS, make_token

pytest_plugins = ["pytester"]

# Examples have no time of their own on the clock: a busy machine fails no test. On CI Hypothesis
# starts from its own profile, whose examples are the same in each run.
settings.register_profile(
    "tests",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("tests")

BACKENDS = ("trio", "asyncio", "uvloop")

Join = Callable[..., AbstractAsyncContextManager[Room]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        choices=BACKENDS,
        action="append",
        help="run the tests on this backend; may be repeated (default: trio and asyncio)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real_time: runs on the real clock")
    config.addinivalue_line("markers", "thorough: takes minutes; runs with -m thorough alone")
    config.addinivalue_line("markers", "rule(*ids): proves these rules of docs/protocol.md")


def _backends(config: pytest.Config) -> list[str]:
    return config.getoption("--backend") or ["trio", "asyncio"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "anyio_backend" in metafunc.fixturenames:
        real_time = metafunc.definition.get_closest_marker("real_time") is not None
        names = _backends(metafunc.config)
        params = [pytest.param((name, real_time), id=name) for name in names]
        metafunc.parametrize("anyio_backend", params, indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Hide from the garbage collector what lives as long as the tests do: modules and tests.

    Half a million objects would be looked at whenever a test asks whether anything was left.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = [item for item in items if _concerns(item, _backends(config))]
    kept = set(chosen)
    if dropped := [item for item in items if item not in kept]:
        config.hook.pytest_deselected(items=dropped)
        items[:] = chosen


def _concerns(item: pytest.Item, backends: list[str]) -> bool:
    callspec = getattr(item, "callspec", None)
    if callspec is None or "anyio_backend" not in callspec.params:
        return "trio" in backends
    name, real_time = callspec.params["anyio_backend"]
    return name != "uvloop" or bool(real_time)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Run tests within their time limits, and of async property tests each example."""
    function = pyfuncitem.obj
    property_test = getattr(function, "hypothesis", None)
    seconds = time_limit(pyfuncitem)
    with alarm(pyfuncitem):
        if property_test is not None and iscoroutinefunction(inner := property_test.inner_test):
            property_test.inner_test = limited(inner, seconds)
            try:
                return (yield)
            finally:
                property_test.inner_test = inner
        if iscoroutinefunction(function):
            pyfuncitem.obj = limited(function, seconds)
        return (yield)


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    name, real_time = request.param
    if name == "uvloop":
        return "asyncio", {"use_uvloop": True}
    return (name, {}) if real_time else virtual_time_backend(name)


@pytest.fixture(autouse=True)
def fresh_log_limits() -> None:
    """No test goes without a line since those before it have written many."""
    for name in tuple(logging.root.manager.loggerDict):
        if name.startswith("trio_rpc"):
            for each in logging.getLogger(name).filters:
                if isinstance(each, PeerFilter):
                    each.reset()


@pytest.fixture
def server() -> RoomServer:
    """A room server; `Room.connect` takes it in place of a URL."""
    return RoomServer(API_KEYS)


@pytest.fixture
def join(server: RoomServer) -> Join:
    """Join the server's room in memory: `async with join("alice", hidden=True) as room`.

    Grants may be given by name, a `Room` as `room`, another server or URL as `to`, and what
    `Room.connect` takes as `on_disconnect`.
    """

    @asynccontextmanager
    async def join(
        identity: str,
        *,
        room: Room | None = None,
        to: Any = server,
        reconnect: ReconnectPolicy | None = DEFAULT_RECONNECT_POLICY,
        on_disconnect: OnDisconnect = "raise",
        **grants: Any,
    ) -> AsyncIterator[Room]:
        async with (room or Room()).connect(
            to,
            make_token(identity, **grants),
            reconnect=reconnect,
            on_disconnect=on_disconnect,
        ) as joined:
            yield joined

    return join


@pytest.fixture
async def url(server: RoomServer, anyio_backend: object) -> AsyncIterator[str]:
    """The URL of the same server, on a socket of its own; for tests marked `real_time`."""
    async with anyio.create_task_group() as task_group:
        yield await task_group.start(serve, server, "127.0.0.1", 0)
        task_group.cancel_scope.cancel()
