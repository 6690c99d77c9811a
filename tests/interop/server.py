"""The server under test, as a user would run it: `trio-rpc serve` in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from ..support.tokens import API_KEY, API_SECRET


@frozen
class Server:
    """A server that runs.

    Attributes:
        url: Where its rooms are joined.
        pid: Its process.
        log: What it writes to its standard error.
    """

    url: str
    pid: int
    log: Path


@contextmanager
def serving(host: str, backend: str, log: Path) -> Iterator[Server]:
    """Run the server in the block; it must end well by itself, and log no error."""
    options = ["--verbose", "--host", host, "--port", "0", "--backend", backend]
    keys = ["--keys", f"{API_KEY}:{API_SECRET}"]
    with _running(["trio_rpc", "serve", *options, *keys], log) as server:
        yield server


@contextmanager
def serving_like_livekit(host: str, log: Path) -> Iterator[Server]:
    """Run our server in the block as it behaves in tests of programs for a livekit-server."""
    with _running([f"{__package__}.livekit_like", host], log) as server:
        yield server


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[Server]:
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout is not None
        try:
            announcement = process.stdout.readline()
            found = re.search(r"wss?://\S+(?=,)", announcement)
            assert found, f"{announcement}\n{log.read_text()}"
            yield Server(found[0], process.pid, log)
        finally:
            process.terminate()
            status = process.wait()
    written = log.read_text()
    assert status == 0, written
    assert not re.search(r" (ERROR|CRITICAL) ", written), written
