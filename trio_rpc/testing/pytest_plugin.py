"""Fixtures for tests of programs that use trio_rpc.

They are plain fixtures, whose values are objects and factories of `async with` blocks, and so work
with any plugin that runs async tests: anyio's, pytest-trio, pytest-asyncio. Their imports are made
when one is used.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..typed.room import Room
    from .rooms import InMemoryServer


@pytest.fixture
def rpc_server() -> InMemoryServer:
    """A room server in memory, which `Room.connect` takes in place of a URL.

    `rpc_server.token("alice")` makes a token for it.
    """
    from .rooms import InMemoryServer

    return InMemoryServer()


@pytest.fixture
def join_room(rpc_server: InMemoryServer) -> Callable[..., AbstractAsyncContextManager[Room]]:
    """Join a room of `rpc_server`: `async with join_room("alice") as room`.

    This is `InMemoryServer.open_room`, which takes a `Room`, a connector, and grants as well.
    """
    return rpc_server.open_room


@pytest.fixture
def rpc_rooms(
    rpc_server: InMemoryServer,
) -> Callable[..., AbstractAsyncContextManager[tuple[Room, ...]]]:
    """Several participants of `rpc_server`: `async with rpc_rooms("alice", "bob") as (alice, bob)`.

    This is `open_rooms`, with the same arguments.
    """
    from .rooms import open_rooms

    return partial(open_rooms, server=rpc_server)
