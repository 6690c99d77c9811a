"""The send queue of a session that may have several links, one after another (rules L4 to L6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from livekit.protocol import models

from ..concurrency import Backend
from ..protocol.retained import RetainedPackets
from .base import Channel, Frame, Link, LinkClosedError, LinkFullError
from .frames import FRAME_OVERHEAD, encode_and_count, packets_in


class _SendNowait(Protocol):
    def __call__(self, frame: Frame, *, flush_follows: bool = False) -> None: ...


class ResumableQueue:
    """The send queue of a session that may outlive its link.

    Reliable packets are retained until they have arrived. Without a link, they wait, up to a limit;
    lossy packets are dropped, and so is signalling, since a session that resumes gets the current
    state.

    Args:
        link: The link to begin with.
        max_queue_bytes: The most bytes that may wait for another link.

    Attributes:
        retained: The packets that may have to be sent again.
        send_nowait: Queues a frame; see `Link`. It is the link's while there is one: every packet
            passes here, and the link retains them, a message at a time.
    """

    send_nowait: _SendNowait

    def __init__(self, link: Link, max_queue_bytes: int, backend: Backend) -> None:
        # What may wait, and as much again that was in flight before.
        self.retained = RetainedPackets(packets_in, 2 * max_queue_bytes)
        self._max_queue_bytes = max_queue_bytes
        self._waiting_bytes = 0
        self._backend = backend
        self._attached = backend.event()
        self._closed_because: str | None = None
        self._use(link)

    def _use(self, link: Link) -> None:
        self._link: Link | None = link
        self.send_nowait = link.send_nowait
        self._waiting_bytes = 0
        if self._closed_because is None:
            link.retained = self.retained
        self._attached.set()

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait to be sent, without those in flight."""
        return self._waiting_bytes if self._link is None else self._link.queued_bytes

    def _wait_nowait(self, frame: Frame, *, flush_follows: bool = False) -> None:  # noqa: ARG002
        """Keep a frame for the next link."""
        if self._closed_because is not None:
            raise LinkClosedError(self._closed_because)
        if frame.channel is Channel.RELIABLE:
            size = len(frame.body) + FRAME_OVERHEAD
            if self._waiting_bytes and self._waiting_bytes + size > self._max_queue_bytes:
                raise LinkFullError(
                    f"{self._waiting_bytes:,} bytes wait for a connection, of "
                    f"{self._max_queue_bytes:,}"
                )
            self._waiting_bytes += size
            self.retained.add(*encode_and_count([frame]))

    def flush_nowait(self) -> None:
        """Send the queue at once; see `Link`."""
        if self._link is not None:
            self._link.flush_nowait()

    async def wait_writable(self) -> None:
        """Wait until part of the queue was sent, or there is another link."""
        if self._link is None:
            await self._attached.wait()
        else:
            await self._link.wait_writable()

    async def wait_sent(self) -> None:
        """Wait until everything that is queued was sent, or the link has ended; see `Link`."""
        if self._link is not None:
            await self._link.wait_sent()

    def discard_queued(self) -> None:
        """Discard the queue, but not what is in flight; see `Link`."""
        self._waiting_bytes = 0
        if self._link is not None:
            self._link.discard_queued()

    def detach(self) -> None:
        """Detach the link; frames wait for the next one."""
        if self._link is not None and self._link.retained is not None:
            self._link.discard_queued()
            self._link.retained = None
        self._link = None
        self.send_nowait = self._wait_nowait
        self._waiting_bytes = 0
        self._attached = self._backend.event()

    def attach(
        self,
        link: Link,
        greeting: Iterable[Frame],
        has_arrived: Callable[[models.DataPacket], bool],
    ) -> None:
        """Attach another link: send a greeting on it, then the packets that have not arrived.

        Args:
            link: The link, which is open.
            greeting: The first frames.
            has_arrived: Whether the other side says that it has a packet.

        Raises:
            LinkClosedError: the link has ended already.
            NotRetainedError: the other side lacks packets that are not retained any more.
        """
        missed = self.retained.missed(has_arrived)
        link.resend_nowait(greeting)
        # The link retains them again as it sends them.
        self.retained.clear()
        self._use(link)
        link.resend_nowait(Frame(Channel.RELIABLE, packet) for packet in missed)

    def restart(self, link: Link, greeting: Iterable[Frame]) -> None:
        """Attach the first link of another session: packets of the last one are dropped.

        Args:
            link: The link, which is open.
            greeting: The first frames.

        Raises:
            LinkClosedError: the link has ended already.
        """
        link.resend_nowait(greeting)
        self.retained.clear()
        self._use(link)

    @property
    def is_attached(self) -> bool:
        """Whether there is a link."""
        return self._link is not None

    def close(self, reason: str) -> None:
        """Accept no further link after the present one.

        Args:
            reason: The reason, for people.
        """
        if self._closed_because is None:
            self._closed_because = reason
        if self._link is None:
            self._attached.set()
        else:
            self._link.retained = None
