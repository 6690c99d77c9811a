"""The thread in which aiortc runs, which requires asyncio.

The thread is started for the first participant that needs it. Whoever made it closes it, and waits
for its end: `open_peer_thread` at the end of its block. Calls into it go by `call`; the reports of
peers come back through `run_sync_soon` of the host's event loop. If the thread fails, its
participants are disconnected, and the next one gets a new thread.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen

from .. import concurrency
from ..concurrency import Backend, Event
from ..links import LinkClosedError
from ..protocol.logs import peer_logger
from .reports import Failed, SendReport

if TYPE_CHECKING:
    from .peer import Peer

    P = TypeVar("P", bound=Peer)

logger = peer_logger(__name__)

_ENDED = "the WebRTC thread has ended"


@asynccontextmanager
async def open_peer_thread(addresses: Sequence[str] = ()) -> AsyncGenerator[PeerThread]:
    """Open a thread for peer connections for the block.

    Args:
        addresses: The IP addresses of this machine that clients reach it at; empty for all but
            loopback.

    Raises:
        ValueError: one of them is not an IP address of this machine.
    """
    for address in addresses:
        check_own_address(address)
    thread = PeerThread(concurrency.current(), addresses)
    try:
        yield thread
    finally:
        await thread.aclose()


class PeerThread:
    """A thread for peer connections, which whoever made it has to close.

    Args:
        addresses: See `open_peer_thread`.

    Attributes:
        addresses: The same.
    """

    def __init__(self, backend: Backend, addresses: Sequence[str] = ()) -> None:
        self.addresses = tuple(addresses)
        self._backend = backend
        self._run_in_host = backend.run_sync_soon()
        self._stopped = False
        # The running thread, if there is one; the loop is None until it runs, and after its end
        self._running: _Running | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event
        self._peers: dict[Peer, SendReport] = {}

    async def start(self) -> None:
        """Start the thread, unless it runs; the first time takes as long as importing aiortc.

        Raises:
            LinkClosedError: the thread could not be started.
        """
        running = self._running
        if running is None:
            # A daemon, since it is of no use to a program whose event loop has been abandoned.
            thread = threading.Thread(target=self._main, name="trio_rpc WebRTC", daemon=True)
            running = self._running = _Running(thread, self._backend.event(), self._backend.event())
            thread.start()
        await running.ready.wait()
        if self._loop is None:
            raise LinkClosedError("WebRTC could not be started; the log of the process says why")

    async def aclose(self) -> None:
        """End the thread and all its peers, and wait for that, also when this is cancelled."""
        self._stopped = True
        if self._loop is not None:
            self.call(self._stopping.set)
        if self._running is not None:
            with self._backend.cancel_scope(shield=True):
                await self._running.ended.wait()

    def open_peer(self, make_peer: Callable[[SendReport], P], report: SendReport) -> P:
        """Open a peer, which runs until `Peer.close` or a failure.

        Args:
            make_peer: Returns the peer.
            report: Called with its reports, in its thread.

        Raises:
            LinkClosedError: the thread does not run.
        """
        peer = make_peer(report)
        self.call(self._run_peer, peer, report)
        return peer

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Schedule a call of a function in the thread.

        Raises:
            LinkClosedError: the thread does not run.
        """
        if self._loop is None:
            raise LinkClosedError(_ENDED)
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            raise LinkClosedError(_ENDED) from None

    def run_in_host(self, function: Callable[[], object]) -> None:
        """Schedule a call of a function in the host's event loop; called in the thread."""
        self._run_in_host(function)

    # In the thread

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:
            logger.exception("the WebRTC thread failed")
        finally:
            # The host's event loop may have ended without closing this.
            with suppress(RuntimeError):
                self.run_in_host(self._on_end)

    async def _serve(self) -> None:
        # Imported here, since it takes a second, for which the host's event loop must not wait.
        from .peer import Peer as _  # noqa: F401

        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_failure)
        self._stopping = asyncio.Event()
        self.run_in_host(lambda: self._on_ready(loop))
        async with asyncio.TaskGroup() as self._tasks:
            await self._stopping.wait()
            for peer in tuple(self._peers):
                peer.close()

    def _run_peer(self, peer: Peer, report: SendReport) -> None:
        run = peer.run()
        try:
            task = self._tasks.create_task(run)
        except RuntimeError:
            # The thread is about to end.
            run.close()
            report(Failed(_ENDED))
            return
        self._peers[peer] = report
        task.add_done_callback(lambda _: self._peers.pop(peer, None))
        if self._stopping.is_set():
            peer.close()

    # In the host

    def _on_ready(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        if self._running is not None:
            self._running.ready.set()
        if self._stopped:
            self.call(self._stopping.set)

    def _on_end(self) -> None:
        running, self._running = self._running, None
        assert running is not None
        # It has nothing left to do.
        running.thread.join()
        self._loop = None
        peers, self._peers = self._peers, {}
        for report in peers.values():
            report(Failed(_ENDED))
        running.ready.set()
        running.ended.set()


@frozen
class _Running:
    thread: threading.Thread
    ready: Event
    ended: Event


def check_own_address(address: str) -> None:
    """Check that an address is one of this machine.

    Raises:
        ValueError: it is not.
    """
    try:
        family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except (OSError, ValueError) as error:
        raise ValueError(f"{address!r} is not an IP address of this machine: {error}") from None


def _log_failure(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # Failures of tasks that aiortc started: their connection fails by itself.
    logger.info(
        "in the WebRTC thread: %s", context.get("message"), exc_info=context.get("exception")
    )
