"""Several commands at a time, as in several shells, and a server that they join."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from attrs import define

from trio_rpc.cli.options import DEV_API_KEY, DEV_API_SECRET
from trio_rpc.tokens import AccessToken, VideoGrants

from .command import command_line, environment


@define
class Shell:
    """A command that runs; `said` is what it wrote before it was ready."""

    process: subprocess.Popen[str]
    said: str

    def end(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
        """Send the process a signal; return its exit code and output."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> tuple[int, str, str]:
        """Wait for the end; otherwise as `end`, without a signal."""
        output, errors = self.process.communicate()
        assert "Traceback" not in errors
        return self.process.returncode, output, errors


@contextmanager
def shell(*arguments: str, ready: str, **variables: str) -> Generator[Shell]:
    """Run a command that stays, which says `ready` on stderr when it is."""
    with subprocess.Popen(
        command_line(*arguments),
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            assert ready in said, said + process.stderr.read()
            yield Shell(process, said)
        finally:
            if process.poll() is None:
                process.kill()


@define
class Serving:
    """A room server in a process of its own."""

    process: subprocess.Popen[str]
    url: str

    @property
    def deletion(self) -> str:
        """The Python code that deletes the room "demo", which its participants lose for good."""
        token = AccessToken(DEV_API_KEY, DEV_API_SECRET).with_grants(VideoGrants(room_create=True))
        headers = {
            "Authorization": f"Bearer {token.to_jwt()}",
            "Content-Type": "application/json",
        }
        url = f"http{self.url.removeprefix('ws')}/twirp/livekit.RoomService/DeleteRoom"
        return (
            "from urllib.request import Request, urlopen; "
            f'urlopen(Request({url!r}, b\'{{"room": "demo"}}\', {headers!r}))'
        )

    def delete_room(self) -> None:
        """Delete the room "demo"."""
        subprocess.run([sys.executable, "-c", self.deletion], check=True)


@contextmanager
def room_server() -> Generator[Serving]:
    """Run `trio-rpc serve --dev` on a free port."""
    with subprocess.Popen(
        command_line("serve", "--dev", "--port", "0"),
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            words = "".join(iter(process.stdout.readline, "Press Ctrl-C to stop.\n")).split()
            yield Serving(process, words[words.index("URL") + 1])
        finally:
            process.terminate()


def pipe(
    *arguments: str, stdin: bytes = b"", **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end that reads `stdin`."""
    return subprocess.run(
        command_line(*arguments),
        env=environment(**variables),
        input=stdin,
        capture_output=True,
        check=False,
    )


def is_running(process_id: int) -> bool:
    """Whether a process runs; one that has ended may still wait for its parent to ask."""
    if sys.platform == "linux":
        # A bare machine has no `ps`.
        try:
            stat = Path(f"/proc/{process_id}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        state = stat.rpartition(") ")[2]
    else:
        command = ["ps", "-o", "stat=", "-p", str(process_id)]
        state = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")
