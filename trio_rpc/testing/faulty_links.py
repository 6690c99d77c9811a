"""Links with faults, from a seed or on demand.

A `FaultyConnector` wraps a participant's connector:

    Room ──send_nowait──► lane "sent" ──────► the wrapped link ──► server
    Room ◄───receive───── lane "received" ◄──        "
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

from livekit.protocol import rtc

from .. import concurrency
from ..concurrency import Backend
from ..links import Connector, Frame, Link, LinkClosedError, LinkFullError
from ..links.websocket import WebSocketConnector
from .faults import Direction, FaultPlan, Faults
from .lanes import Lane, OnPacket, Switches

#: The most bytes in flight in one direction of a link, unless set otherwise.
DEFAULT_MAX_LANE_BYTES: Final = 4 * 1024 * 1024

_CUT: Final = "the link was cut"


class FaultyConnector:
    """A connector whose links delay, drop, duplicate and reorder packets.

        link = FaultyConnector(server, Faults(seed=7, drop=0.1, delay=(0.01, 0.05)))
        async with room.connect(link, server.token("alice")):
            link.cut()

    A method affects all links that were opened with the connector and are still open: give each
    participant a connector of its own to treat it differently.

    Args:
        connector: The connector to wrap: a server in this process, or a URL.
        faults: The faults from a seed; none by default.
        on_packet: Called with the fate of each packet, as soon as that is decided.
        max_lane_bytes: The most bytes in flight in one direction; then the link is full.
    """

    def __init__(
        self,
        connector: Connector | str,
        faults: Faults | None = None,
        *,
        on_packet: OnPacket | None = None,
        max_lane_bytes: int = DEFAULT_MAX_LANE_BYTES,
    ) -> None:
        self._connector = WebSocketConnector(connector) if isinstance(connector, str) else connector
        self._faults = faults or Faults()
        self._switches = Switches(on_packet, max_lane_bytes)
        self._links: list[_FaultyLink] = []
        self._link_numbers = count()

    @property
    def injected(self) -> Counter[str]:
        """The number of faults so far, by kind.

        The kinds are `dropped`, `delayed`, `duplicated`, `reordered`, `lost` (in flight when the
        link ended), `cut` and `paused`.
        """
        return +self._switches.injected

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncGenerator[Link]:
        """Open a link for the block; see `trio_rpc.links.Connector`."""
        async with self._connector.open_link(token, request) as link:
            number = next(self._link_numbers)
            faulty = _FaultyLink(
                link,
                self._switches,
                FaultPlan(self._faults, number, "sent"),
                FaultPlan(self._faults, number, "received"),
            )
            async with concurrency.open_service_nursery() as nursery:
                for task in faulty.tasks:
                    nursery.start_soon(task)
                self._links.append(faulty)
                try:
                    yield faulty
                finally:
                    self._links.remove(faulty)

    # Faults on demand

    def cut(self) -> None:
        """End the links at once, on both sides, as when a network breaks down."""
        self._switches.injected["cut"] += len(self._links)
        for link in self._links:
            link.cut()

    def pause(self) -> None:
        """Hold all frames in both directions, signalling included, until `resume`.

        Links that are opened meanwhile are paused too. To both sides this is a network that stalls:
        frames wait, and after the ping timeout both give up the connection.
        """
        self._switches.injected["paused"] += not self._switches.paused
        self._switches.paused = True

    def resume(self) -> None:
        """Release the frames that `pause` has held, and go on."""
        self._switches.paused = False
        for link in self._links:
            link.wake()

    def drop_next(self, packets: int = 1, direction: Direction = "sent") -> None:
        """Drop the next packets.

        Args:
            packets: The number, in addition to packets that are still to be dropped.
            direction: `"sent"` by the participant, or `"received"`.
        """
        self._switches.drop_next[direction] += packets


class _FaultyLink:
    """The `Link` that a `FaultyConnector` opens."""

    def __init__(
        self, link: Link, switches: Switches, sent: FaultPlan, received: FaultPlan
    ) -> None:
        backend: Backend = concurrency.current()
        self._backend = backend
        self._link = link
        self._sent = Lane(backend, sent, switches, link.send_nowait, link.wait_writable)
        self._received = Lane(
            backend, received, switches, self._arrived_frame, backend.sleep_forever
        )
        # Frames that can be received, and errors of messages without any
        self._arrived: deque[Frame | ValueError] = deque()
        self._something_arrived = backend.event()
        # The end
        self._closed_because: str | None = None
        self._cut = backend.event()
        self.tasks = (self._sent.run, self._received.run, self._pump, self._close_when_cut)

    @property
    def queued_bytes(self) -> int:
        return self._sent.bytes_in_flight + self._link.queued_bytes

    def send_nowait(self, frame: Frame) -> None:
        if self._closed_because is not None:
            raise LinkClosedError(self._closed_because)
        self._sent.put(frame)

    def resend_nowait(self, frames: Iterable[Frame]) -> None:
        for frame in frames:
            self.send_nowait(frame)

    def flush_nowait(self, *, at_least: int = 1) -> None:
        """Do nothing: the delay of a packet decides when it leaves."""

    async def wait_writable(self) -> None:
        if self._closed_because is None:
            await (self._sent.wait_changed() if self._sent else self._link.wait_writable())

    async def receive(self) -> list[Frame]:
        while not self._arrived:
            if self._closed_because is not None:
                raise LinkClosedError(self._closed_because)
            await self._something_arrived.wait()
        first = self._arrived.popleft()
        if isinstance(first, ValueError):
            raise first
        frames = [first]
        while self._arrived and not isinstance(following := self._arrived[0], ValueError):
            frames.append(following)
            self._arrived.popleft()
        return frames

    def discard_queued(self) -> None:
        self._sent.discard()
        self._link.discard_queued()

    async def aclose(self, reason: str = "") -> None:
        self._end("the link was closed here" + (f": {reason}" if reason else ""))
        await self._link.aclose(reason)

    def cut(self) -> None:
        """End at once, and lose what is in flight."""
        self._end(_CUT)
        self._arrived.clear()
        self._cut.set()

    def wake(self) -> None:
        """Wake the tasks of both lanes, whose state has changed."""
        self._sent.wake()
        self._received.wake()

    async def _close_when_cut(self) -> None:
        await self._cut.wait()
        self._link.discard_queued()
        await self._link.aclose(_CUT)

    async def _pump(self) -> None:
        while True:
            try:
                frames = await self._link.receive()
            except LinkClosedError as error:
                while self._received:
                    await self._received.wait_changed()
                self._end(str(error))
                return
            except ValueError as error:
                self._arrived.append(error)
                self._notify()
            else:
                for frame in frames:
                    await self._pump_frame(frame)

    async def _pump_frame(self, frame: Frame) -> None:
        while self._closed_because is None:
            try:
                self._received.put(frame)
            except LinkFullError:
                await self._received.wait_changed()
            else:
                return

    def _arrived_frame(self, frame: Frame) -> None:
        self._arrived.append(frame)
        self._notify()

    def _end(self, reason: str) -> None:
        if self._closed_because is None:
            self._closed_because = reason
            self._sent.discard()
            self._received.discard()
            self._notify()

    def _notify(self) -> None:
        self._something_arrived.set()
        self._something_arrived = self._backend.event()
