"""Running `trio-rpc` in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from attrs import define


def environment(**variables: str) -> dict[str, str]:
    """Return the tests' environment, with no variables of LiveKit but `variables`."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("LIVEKIT_")}
    return {**others, **variables}


def command_line(*arguments: str, before: str = "") -> list[str]:
    """Return the command line of `trio-rpc`; the code `before` runs ahead of it in the process."""
    if not before:
        return [sys.executable, "-m", "trio_rpc", *arguments]
    code = f"{before}\nimport sys\nfrom trio_rpc.cli import main\nsys.exit(main())"
    return [sys.executable, "-c", code, *arguments]


def run(*arguments: str, before: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and see that it does not show a traceback."""
    completed = subprocess.run(
        command_line(*arguments, before=before),
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in completed.stderr
    return completed


def one_line(text: str) -> str:
    """Return the only line of `text`."""
    lines = text.splitlines()
    assert len(lines) == 1, text
    return lines[0]


@define
class Server:
    """A `trio-rpc serve` that has started; `output` is what it said."""

    process: Process
    output: str

    def field(self, name: str) -> str:
        """Return the URL, the API key or the API secret in the output."""
        line = next(line for line in self.output.splitlines() if line.startswith(f"  {name} "))
        return line.removeprefix(f"  {name} ").strip()

    @property
    def token(self) -> str:
        """The token that `--dev` prints."""
        return next(word for word in self.output.split() if word.startswith("eyJ"))

    async def end(self) -> tuple[int, str, str]:
        """Wait for its end: the exit code, and the rest of stdout and stderr."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        rest = b"".join([chunk async for chunk in self.process.stdout])
        errors = b"".join([chunk async for chunk in self.process.stderr])
        return await self.process.wait(), rest.decode(), errors.decode()


@asynccontextmanager
async def serving(*arguments: str, **variables: str) -> AsyncIterator[Server]:
    """Run `trio-rpc serve` on a free port."""
    command = command_line("serve", "--port", "0", *arguments)
    async with await anyio.open_process(command, env=environment(**variables)) as process:
        try:
            assert process.stdout is not None
            stdout = BufferedByteReceiveStream(process.stdout)
            said = await stdout.receive_until(b"Press Ctrl-C to stop.", 100_000)
            yield Server(process, said.decode())
        finally:
            if process.returncode is None:
                process.terminate()
                with anyio.move_on_after(60, shield=True):
                    await process.wait()
