"""The thread in which aiortc runs, which is for asyncio only.

It is started for the first client that needs it, and ends with the block of `open_peer_thread`,
whose nursery waits for it. Calls go over with `call`; what the peers report comes back through
`run_sync_soon` of the host's event loop. Should the thread fail, its participants are told, and the
next one gets a new thread.
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
from ..logs import peer_logger
from .reports import Failed, SendReport

if TYPE_CHECKING:
    from .peer import Peer

logger = peer_logger(__name__)

_ENDED = "the server's WebRTC thread has ended"


@asynccontextmanager
async def open_peer_thread(addresses: Sequence[str] = ()) -> AsyncGenerator[PeerThread]:
    """A thread for peer connections, for as long as the block runs.

    Args:
        addresses: The IP addresses of this machine that clients reach it at; empty for all but
            loopback.

    Raises:
        ValueError: one of them is no IP address of this machine.
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
    """See `open_peer_thread`."""

    def __init__(self, backend: Backend, nursery: Nursery, addresses: Sequence[str]) -> None:
        self._backend = backend
        self._nursery = nursery
        self._addresses = tuple(addresses)
        self._limiter = backend.capacity_limiter(1)
        self._run_in_host = backend.run_sync_soon()
        self._stopped = False
        # The thread that runs, if one does; None for a loop that is not there yet, or any more
        self._ready: Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event
        self._peer_type: type[Peer]
        self._peers: dict[Peer, SendReport] = {}

    async def start(self) -> None:
        """See to it that the thread runs; the first time takes as long as importing aiortc.

        Raises:
            LinkClosedError: it could not be started.
        """
        if self._ready is None:
            self._ready = self._backend.event()
            self._nursery.start_soon(self._run)
        await self._ready.wait()
        if self._loop is None:
            raise LinkClosedError("the server could not start WebRTC; its own log says why")

    def stop(self) -> None:
        """Let the thread end, and all its peers."""
        self._stopped = True
        if self._loop is not None:
            self.call(self._stopping.set)

    def open_peer(self, report: SendReport, *, subscriber_primary: bool) -> Peer:
        """A peer for one participant, until `Peer.close` or a failure.

        Args:
            report: Called with what the peer has to say, in its thread.
            subscriber_primary: Whether we offer a second connection, for what the client gets.

        Raises:
            LinkClosedError: the thread does not run.
        """
        peer = self._peer_type(
            report, subscriber_primary=subscriber_primary, addresses=self._addresses
        )
        self.call(self._run_peer, peer, report)
        return peer

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have a function called in the thread, soon.

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
        """Called in the thread: have a function called in the host's event loop, soon."""
        self._run_in_host(function)

    async def _run(self) -> None:
        ready = self._ready
        assert ready is not None
        try:
            # Shielded, since nobody could wait for a thread that goes on: `stop` ends it.
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
        # Here, since it takes a second that nobody else should wait for.
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
    """Refuse what no client could reach us at.

    Raises:
        ValueError: it is no IP address of this machine.
    """
    try:
        family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except (OSError, ValueError) as error:
        raise ValueError(f"{address!r} is no IP address of this machine: {error}") from None


def _log_failure(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # Of tasks that aiortc started: the connection that they were for fails by itself.
    logger.info(
        "in the WebRTC thread: %s", context.get("message"), exc_info=context.get("exception")
    )
