"""A server, a sender or a receiver of a file, in a process of its own.

    peer.py serve BACKEND
    peer.py send BACKEND URL PATH
    peer.py receive BACKEND URL

Each says on its standard output, a JSON document in a line, what it has to say: the server its URL,
the receiver when it is there and what it received, the sender what became of the file. All say at
last by how many bytes their memory grew, at its peak.
"""

from __future__ import annotations

import hashlib
import json
import re
import resource
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from tests.support.tokens import API_KEYS, make_token
from trio_rpc import ByteStreamReader, Room, StreamError
from trio_rpc.server import RoomServer, serve

STATUS = Path("/proc/self/status")


def peak() -> int:
    """Return the peak of the process's memory so far, in bytes."""
    if STATUS.exists():
        # On Linux `ru_maxrss` begins with what the parent process held.
        (kilobytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
        return int(kilobytes) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def report(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def run_server() -> None:
    """Serve until a line comes on the standard input."""
    async with anyio.create_task_group() as tasks:
        url = await tasks.start(serve, RoomServer(API_KEYS), "127.0.0.1", 0)
        before = peak()
        report(url=url)
        await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
        report(growth=peak() - before)
        tasks.cancel_scope.cancel()


async def send(url: str, path: str) -> None:
    room = Room()
    async with room.connect(url, make_token("sender"), reconnect=None, on_disconnect="continue"):
        await room.wait_for_participant("receiver")
        before = peak()
        announced = False

        def on_progress(sent: int, size: int) -> None:
            nonlocal announced
            if not announced and sent > size // 4:
                announced = True
                report(sent=sent)

        try:
            await room.local_participant.send_file(
                path, topic="file", destination_identities=["receiver"], on_progress=on_progress
            )
        except StreamError as error:
            report(error=str(error))
        else:
            report(growth=peak() - before)
            # What is queued still has to leave; the receiver says when it has all.
            await room.wait_disconnected()


async def receive(url: str) -> None:
    room = Room()
    finished = anyio.Event()

    async def digest(reader: ByteStreamReader, sender: str) -> None:
        before = peak()
        sha256 = hashlib.sha256()
        try:
            async for piece in reader:
                sha256.update(piece)
        except StreamError as error:
            report(error=str(error), received=reader.bytes_received)
        else:
            report(
                sha256=sha256.hexdigest(),
                received=reader.bytes_received,
                progress=reader.progress,
                growth=peak() - before,
            )
        finished.set()

    room.register_byte_stream_handler("file", digest)
    async with room.connect(url, make_token("receiver"), reconnect=None):
        report(joined=True)
        await finished.wait()


if __name__ == "__main__":
    functions: dict[str, Any] = {"serve": run_server, "send": send, "receive": receive}
    role, backend, *arguments = sys.argv[1:]
    anyio.run(functions[role], *arguments, backend=backend)
