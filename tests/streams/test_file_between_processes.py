"""A large file from one process to another, through a server in a third."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from attrs import define

pytestmark = pytest.mark.anyio

logger = logging.getLogger(__name__)

SIZE: Final = 200 * 1024 * 1024
#: By how much the memory of a process may grow: its queues and what waits to be read.
MAX_GROWTH: Final = 64 * 1024 * 1024
ROOT: Final = Path(__file__).parents[2]


@define(eq=False)
class Peer:
    process: anyio.abc.Process
    _stdout: BufferedByteReceiveStream

    async def receive_report(self) -> dict[str, Any]:
        """Receive the next line of the process."""
        line = await self._stdout.receive_until(b"\n", 10_000)
        report: dict[str, Any] = json.loads(line)
        return report


@asynccontextmanager
async def peer(role: str, backend: str, *arguments: str) -> AsyncIterator[Peer]:
    """Start a process, which is killed at the end of the block at the latest."""
    command = [sys.executable, "-m", "tests.streams.peer", role, backend, *arguments]
    async with await anyio.open_process(command, stderr=None, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield Peer(process, BufferedByteReceiveStream(process.stdout))
        finally:
            if process.returncode is None:
                process.kill()


@define
class Transfer:
    server: Peer
    receiver: Peer
    sender: Peer


@asynccontextmanager
async def transfer(backend: str, path: Path) -> AsyncIterator[Transfer]:
    """Start the three processes of a transfer."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(peer("serve", backend))
        url = (await server.receive_report())["url"]
        receiver = await stack.enter_async_context(peer("receive", backend, url))
        assert await receiver.receive_report() == {"joined": True}
        sender = await stack.enter_async_context(peer("send", backend, url, str(path)))
        yield Transfer(server, receiver, sender)


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "large.bin"
    generator = random.Random(200)
    with path.open("wb") as file:
        for _ in range(SIZE // 1024 // 1024):
            file.write(generator.randbytes(1024 * 1024))
    return path


@pytest.mark.thorough
@pytest.mark.real_time
@pytest.mark.rule("S4", "S7", "V8")
async def test_a_file_of_200_mb_arrives_whole_and_memory_remains_flat(
    large_file: Path, anyio_backend_name: str, record_testsuite_property: Any
) -> None:
    with large_file.open("rb") as file:
        expected = hashlib.file_digest(file, "sha256").hexdigest()
    async with transfer(anyio_backend_name, large_file) as processes:
        at_quarter = (await processes.sender.receive_report())["sent"]
        began = time.perf_counter()
        received = await processes.receiver.receive_report()
        seconds = time.perf_counter() - began
        sent = await processes.sender.receive_report()
        assert processes.server.process.stdin is not None
        await processes.server.process.stdin.send(b"\n")
        growth = {
            "sender": sent["growth"],
            "receiver": received["growth"],
            "server": (await processes.server.receive_report())["growth"],
        }
        assert (received["received"], received["progress"]) == (SIZE, 1.0)
        assert received["sha256"] == expected
    figures = {f"growth of the {role}, in bytes": grown for role, grown in growth.items()}
    figures["bytes per second"] = round((SIZE - at_quarter) / seconds)
    for name, figure in figures.items():
        logger.info("%s: %s %s", anyio_backend_name, f"{figure:,}", name)
        record_testsuite_property(f"200 MB file, {anyio_backend_name}: {name}", figure)
    assert max(growth.values()) < MAX_GROWTH, growth


@pytest.mark.real_time
@pytest.mark.rule("S6", "C8")
async def test_a_sender_that_is_killed_is_an_error_at_the_receiver(
    large_file: Path, anyio_backend_name: str
) -> None:
    async with transfer(anyio_backend_name, large_file) as processes:
        await processes.sender.receive_report()
        processes.sender.process.kill()
        report = await processes.receiver.receive_report()
        assert report["error"] == "'sender' left the room"
        assert 0 < report["received"] < SIZE


@pytest.mark.real_time
@pytest.mark.rule("S6")
async def test_a_server_that_is_killed_is_an_error_on_both_sides(
    large_file: Path, anyio_backend_name: str
) -> None:
    async with transfer(anyio_backend_name, large_file) as processes:
        await processes.sender.receive_report()
        processes.server.process.kill()
        report = await processes.receiver.receive_report()
        assert report["error"].startswith("the connection was lost: ")
        assert 0 < report["received"] < SIZE
        assert (await processes.sender.receive_report())["error"].startswith("not sent: ")
