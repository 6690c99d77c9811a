"""Participants in other processes, which are killed or stopped in the middle of a call."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import pytest

from trio_rpc import Room, RpcError
from trio_rpc.server import RoomServer, ServerLimits, ServerStatistics

from ..conftest import Join
from ..support.tokens import API_KEYS, make_token
from ..support.waiting import wait_until

pytestmark = pytest.mark.anyio

CALLEE = Path(__file__).parent / "callee.py"


@pytest.fixture
def ping_timeout() -> int:
    return 5


@pytest.fixture
def server(ping_timeout: int) -> RoomServer:
    # Who is lost has left: nobody is expected back.
    limits = ServerLimits(ping_interval=1, ping_timeout=ping_timeout, resume_window=0)
    return RoomServer(API_KEYS, limits)


@asynccontextmanager
async def callee_process(url: str) -> AsyncIterator[anyio.abc.Process]:
    """Bob, in a process that is killed at the latest with the block."""
    command = [sys.executable, str(CALLEE), url, make_token("bob")]
    async with await anyio.open_process(command, stderr=None) as process:
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()


async def read_line(process: anyio.abc.Process) -> str:
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        line += await process.stdout.receive()
    return line.decode().strip()


async def call(room: Room, destination: str, method: str) -> str:
    return await room.local_participant.perform_rpc(
        destination_identity=destination, method=method, payload="", response_timeout=30
    )


@asynccontextmanager
async def hanging_call(alice: Room, process: anyio.abc.Process) -> AsyncIterator[list[RpcError]]:
    """Call Bob, who hangs, while the block runs; the list gets the call's error at its end."""
    errors: list[RpcError] = []

    async def call_bob() -> None:
        with pytest.raises(RpcError) as caught:
            await call(alice, "bob", "hang")
        errors.append(caught.value)

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(call_bob)
        assert await read_line(process) == "called"
        yield errors


async def check_the_server_serves_on(join: Join, url: str, alice: Room) -> None:
    async with join("carol", to=url) as carol:
        carol.register_rpc_method("greet", lambda data: f"Hello, {data.caller_identity}")
        await alice.wait_for_participant("carol")
        assert await call(alice, "carol", "greet") == "Hello, alice"


@pytest.mark.real_time
@pytest.mark.rule("C8", "V6")
@pytest.mark.parametrize("ping_timeout", [600])
async def test_a_participant_that_is_killed_in_a_call_is_missed_at_once(
    join: Join, server: RoomServer, url: str
) -> None:
    async with join("alice", to=url) as alice, callee_process(url) as process:
        await alice.wait_for_participant("bob")
        # No ping is needed: the kernel closes the socket of who is killed.
        async with hanging_call(alice, process) as errors:
            process.send_signal(signal.SIGKILL)
            await wait_until(lambda: errors)
        assert errors[0].code == RpcError.ErrorCode.RECIPIENT_DISCONNECTED
        assert errors[0].message == "Recipient disconnected"
        assert errors[0].data == "'bob' left the room"
        assert "bob" not in alice.remote_participants
        assert server.statistics() == ServerStatistics(rooms=1, participants=1)
        assert alice.statistics().pending_calls == 0
        await check_the_server_serves_on(join, url, alice)


@pytest.mark.real_time
@pytest.mark.rule("V9", "C8")
async def test_a_participant_that_is_stopped_in_a_call_is_missed_within_the_ping_timeout(
    join: Join, server: RoomServer, url: str
) -> None:
    async with join("alice", to=url) as alice, callee_process(url) as process:
        await alice.wait_for_participant("bob")
        async with hanging_call(alice, process) as errors:
            process.send_signal(signal.SIGSTOP)
            # The server serves the others in the meantime.
            await check_the_server_serves_on(join, url, alice)
            await wait_until(lambda: errors)
        assert errors[0].code == RpcError.ErrorCode.RECIPIENT_DISCONNECTED
        assert "bob" not in alice.remote_participants
        assert server.statistics() == ServerStatistics(rooms=1, participants=1)
        # Awake again, it notices that its room is lost, and ends by itself.
        os.kill(process.pid, signal.SIGCONT)
        assert await process.wait() == 0
        await check_the_server_serves_on(join, url, alice)
