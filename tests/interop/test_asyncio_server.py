"""The server on asyncio: the most important of what test_pairs.py shows of the one on trio."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Final

import pytest

from trio_rpc import RpcError

from .conftest import Cast, Programs
from .network import Network
from .program import Failure, Peer
from .server import serving

KINDS: Final = ("trio", "python", "browser")

pytestmark = pytest.mark.parametrize(("caller_kind", "callee_kind"), list(permutations(KINDS, 2)))


@pytest.fixture(scope="module")
def asyncio_cast(own_network: Network, programs: Programs, logs: Path) -> Iterator[Cast]:
    with serving(own_network.address, "asyncio", logs / "asyncio-server") as server:
        cast = Cast("on asyncio", server.url, programs)
        yield cast
        cast.leave()


@pytest.fixture
def caller(asyncio_cast: Cast, caller_kind: str, callee: Peer) -> Peer:
    peer = asyncio_cast.peer(caller_kind, "on asyncio")
    asyncio_cast.introduce(peer, callee)
    return peer


@pytest.fixture
def callee(asyncio_cast: Cast, callee_kind: str) -> Peer:
    return asyncio_cast.peer(callee_kind, "on asyncio")


@pytest.mark.parametrize("size", [2, 15_360, 90_000])
def test_a_call_is_answered(caller: Peer, callee: Peer, size: int) -> None:
    assert caller.call(callee.identity, "echo", "x" * size) == "x" * size


def test_an_error_of_the_handler_comes_as_it_was_raised(caller: Peer, callee: Peer) -> None:
    assert caller.call(callee.identity, "fail") == Failure(4321, "out of milk", '{"left": 0}')


def test_an_unknown_destination_is_1401(caller: Peer) -> None:
    outcome = caller.call("nobody", "echo")
    assert isinstance(outcome, Failure)
    assert outcome.code == RpcError.ErrorCode.RECIPIENT_NOT_FOUND


def test_data_texts_and_attributes_arrive(caller: Peer, callee: Peer) -> None:
    caller.publish("soup's on", callee.identity)
    assert callee.wait_for("data", who=caller.identity)["payload"] == "soup's on"
    caller.send_text("soup " * 10_000, callee.identity)
    assert callee.wait_for("text", who=caller.identity)["text"] == "soup " * 10_000
    caller.set_attributes({"seen by": callee.identity})
    callee.wait_for("attributes", who=caller.identity, value={"seen by": callee.identity})
