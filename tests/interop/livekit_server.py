"""A real livekit-server, in a process of its own, that can be reached from this machine alone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.error import URLError

import pytest

from ..support.livekit_server import LIVEKIT_SERVER_VARIABLE, configuration
from .program import PATIENCE, ProgramError
from .server import Server

#: Seconds between two looks whether it answers.
_PAUSE: Final = 0.05
#: Seconds for which it waits for participants that are still there, before it is told again.
_GRACE: Final = 2.0


def path_of_livekit_server() -> str:
    """Return the program; skip the test where there is none."""
    path = os.environ.get(LIVEKIT_SERVER_VARIABLE)
    if not path:
        pytest.skip(
            f"${LIVEKIT_SERVER_VARIABLE} names no livekit-server: nox -s interop installs it, "
            "where Go's modules can be had"
        )
    return path


@contextmanager
def serving_livekit(host: str, log: Path) -> Iterator[Server]:
    """Run a livekit-server in the block."""
    path = path_of_livekit_server()
    port = _free_port(host)
    body = json.dumps(configuration(host, port))
    with (
        log.open("w") as output,
        subprocess.Popen(
            [path, "--config-body", body], stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            _wait_until_it_answers(f"http://{host}:{port}/", process, log)
            yield Server(f"ws://{host}:{port}", process.pid, log)
        finally:
            _stop(process)


def _free_port(host: str) -> int:
    with socket.socket() as found:
        found.bind((host, 0))
        port: int = found.getsockname()[1]
        return port


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(URLError), urllib.request.urlopen(url):
            return
        time.sleep(_PAUSE)
    raise ProgramError(f"livekit-server does not answer:\n{log.read_text(errors='replace')}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for patience in (_GRACE, PATIENCE / 3):
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return
    process.kill()
