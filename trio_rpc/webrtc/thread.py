"""The thread in which aiortc runs, which requires asyncio.

The thread is started for the first client that needs it, and ends with the block of
`open_peer_thread`, whose nursery waits for it. Calls into the thread go by `call`; the reports of
peers come back through `run_sync_soon` of the host's event loop. If the thread fails, its
participants are disconnected, and the next one gets a new thread.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from .. import concurrency
from ..concurrency import Backend, Event, Nursery
from ..links import LinkClosedError
from ..protocol.logs import peer_logger
from .reports import Failed, SendReport

if TYPE_CHECKING:
    from .peer import Peer

logger = peer_logger(__name__)

_ENDED = "the server's WebRTC thread has ended"


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
    async with concurrency.open_service_nursery() as nursery:
        thread = PeerThread(concurrency.current(), nursery, addresses)
        try:
            yield thread
        finally:
            thread.stop()


class PeerThread:
    """The thread for peer connections that `open_peer_thread` opens."""

    def __init__(self, backend: Backend, nursery: Nursery, addresses: Sequence[str]) -> None:
        self._backend = backend
        self._nursery = nursery
        self._addresses = tuple(addresses)
        self._limiter = backend.capacity_limiter(1)
        self._run_in_host = backend.run_sync_soon()
        self._stopped = False
        # The running thread, if there is one; the loop is None until it runs, and after its end
        self._ready: Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event
        self._peer_type: type[Peer]
        self._peers: dict[Peer, SendReport] = {}

    async def start(self) -> None:
        """Start the thread, unless it runs; the first time takes as long as importing aiortc.

        Raises:
            LinkClosedError: the thread could not be started.
        """
        if self._ready is None:
            self._ready = self._backend.event()
            self._nursery.start_soon(self._run)
        await self._ready.wait()
        if self._loop is None:
            raise LinkClosedError("the server could not start WebRTC; its own log says why")

    def stop(self) -> None:
        """End the thread, and all its peers."""
        self._stopped = True
        if self._loop is not None:
            self.call(self._stopping.set)

    def open_peer(
        self, report: SendReport, *, subscriber_primary: bool, consent_timeout: float
    ) -> Peer:
        """Open a peer for one participant, which runs until `Peer.close` or a failure.

        Args:
            report: Called with the reports of the peer, in its thread.
            subscriber_primary: Whether we offer a second connection, on which the client receives.
            consent_timeout: Seconds after which a client that is gone is noticed.

        Raises:
            LinkClosedError: the thread does not run.
        """
        peer = self._peer_type(
            report,
            subscriber_primary=subscriber_primary,
            addresses=self._addresses,
            consent_timeout=consent_timeout,
        )
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

    async def _run(self) -> None:
        ready = self._ready
        assert ready is not None
        try:
            # Shielded, since a thread cannot be cancelled: `stop` ends it.
            with self._backend.cancel_scope(shield=True):
                await self._backend.run_sync_in_thread(self._main, limiter=self._limiter)
        except Exception:
            logger.exception("the WebRTC thread failed")
        finally:
            self._loop = self._ready = None
            peers, self._peers = self._peers, {}
            for report in peers.values():
                report(Failed(_ENDED))
            ready.set()

    # In the thread

    def _main(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        # Imported here, since it takes a second, for which the host's event loop must not wait.
        from .peer import Peer

        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_failure)
        self._stopping = asyncio.Event()
        self._peer_type = Peer
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
        if self._ready is not None:
            self._ready.set()
        if self._stopped:
            self.call(self._stopping.set)


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
