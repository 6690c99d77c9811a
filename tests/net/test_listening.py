"""Accepting connections, also when there are no file descriptors left for them."""

from __future__ import annotations

import errno
import logging
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import anyio
import pytest

from trio_rpc import concurrency
from trio_rpc.net.byte_streams import ByteStream
from trio_rpc.net.listening import serve_connections

pytestmark = pytest.mark.rule("B11")


# In virtual time


class FailingListener(socket.socket):
    """A socket that listens, and fails to accept for as long as `error` is set.

    Attributes:
        failures: How often it fails at the most.
    """

    error: int | None = None
    failures = math.inf
    attempts = 0

    def accept(self) -> Any:
        self.attempts += 1
        if self.error is not None and self.attempts <= self.failures:
            raise OSError(self.error, os.strerror(self.error))
        return super().accept()


@contextmanager
def failing_listener(error: int) -> Iterator[FailingListener]:
    with FailingListener() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        listener.error = error
        yield listener


@pytest.mark.anyio
@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS], ids=os.strerror)
async def test_without_descriptors_accepting_is_tried_again_ever_less_often_and_said_seldom(
    caplog: pytest.LogCaptureFixture, error: int
) -> None:
    backend = concurrency.current()
    stop, accepted = backend.event(), backend.event()

    async def serve(_connection: socket.socket, _stream: ByteStream) -> None:
        accepted.set()

    async def accept(listener: socket.socket) -> None:
        await serve_connections(listener, serve, stop, on_stop=lambda: None, graceful_timeout=1.0)

    with failing_listener(error) as listener, socket.create_connection(listener.getsockname()):
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(accept, listener)
            await anyio.sleep(60)
            assert 60 <= listener.attempts <= 70
            assert [record.getMessage() for record in caplog.records] == [
                f"no connection can be accepted for now: [Errno {error}] {os.strerror(error)}"
            ] * 6
            assert [record.exc_info for record in caplog.records] == [None] * 6
            assert not accepted.is_set()
            listener.error = None
            with anyio.fail_after(1.5):
                await accepted.wait()
            stop.set()


@pytest.mark.anyio
async def test_a_connection_that_was_gone_before_it_was_accepted_is_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = concurrency.current()
    stop = backend.event()

    async def serve(_connection: socket.socket, _stream: ByteStream) -> None:
        stop.set()

    with (
        failing_listener(errno.ECONNABORTED) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        listener.failures = 10
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(
                lambda: serve_connections(
                    listener, serve, stop, on_stop=lambda: None, graceful_timeout=1.0
                )
            )
            await stop.wait()
    assert listener.attempts == 11
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


# For real

#: A room server with only a few descriptors more than it needs; says its port.
PROGRAM: Final = """
import logging, resource, socket, sys
import anyio
from trio_rpc.server import RoomServer, serve

async def main():
    async with anyio.create_task_group() as tasks:
        url = await tasks.start(serve, RoomServer({"key": "secret"}), "127.0.0.1", 0)
        with socket.socket() as probe:
            lowest_free = probe.fileno()
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 10, hard))
        print(url.rpartition(":")[2], flush=True)

logging.basicConfig(level=logging.INFO)
anyio.run(main, backend=sys.argv[1])
"""


@contextmanager
def starved_server(backend: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a server with ten file descriptors left; yield its process and port."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, backend],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def read_until_silent(process: subprocess.Popen[str], text: str) -> str:
    """Read the server's log until `text` is in it."""
    assert process.stderr is not None
    logged = ""
    while text not in logged:
        data = os.read(process.stderr.fileno(), 65_536)
        assert data, logged
        logged += data.decode()
    return logged


def status_of(port: int) -> str:
    """Send an HTTP request, and return the status line of the response."""
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        return peer.makefile().readline()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_server_without_descriptors_logs_one_line_and_goes_on_when_there_are_some(
    backend: str,
) -> None:
    with starved_server(backend) as (process, port), ExitStack() as stack:
        assert status_of(port) == "HTTP/1.1 200 \n"
        started = time.monotonic()
        for _ in range(30):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        logged = read_until_silent(process, "no connection can be accepted for now: ")
        # Long enough for many attempts more.
        time.sleep(1.0)
        stack.close()
        assert status_of(port) == "HTTP/1.1 200 \n"
        elapsed = time.monotonic() - started
        process.terminate()
        _, rest = process.communicate()
    lines = (logged + rest).splitlines()
    accepting = [line for line in lines if "no connection can be accepted" in line]
    assert 1 <= len(accepting) <= 1 + elapsed / 10
    assert not [line for line in lines if "Traceback" in line or line.startswith(" ")]
