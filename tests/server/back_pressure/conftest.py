"""A server whose queues are small, and links that hold little."""

from __future__ import annotations

import pytest

from trio_rpc.server import RoomServer, ServerLimits

from ...support.tokens import API_KEYS
from .queues import QUEUE


@pytest.fixture
def server() -> RoomServer:
    return RoomServer(API_KEYS, ServerLimits(max_queue_bytes=QUEUE))


@pytest.fixture(autouse=True)
def little_between_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a link in memory hold little, as a socket does."""
    monkeypatch.setattr("trio_rpc.links.memory._BUFFERED_MESSAGES", 1)
