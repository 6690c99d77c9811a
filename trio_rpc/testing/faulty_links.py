"""A link of a `FaultyNetwork`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from .. import concurrency
from ..concurrency import Backend
from ..links import Frame, Link, LinkClosedError, LinkFullError
from ..links.framed import CLOSE_TIMEOUT
from ..links.frames import encode_and_count
from ..protocol.retained import RetainedPackets
from .faults import FaultPlan
from .lanes import Lane, Switches

_CUT: Final = "the link was cut"


class FaultyLink:
    """The `Link` that a `FaultyNetwork` opens.

    Attributes:
        can_resume, roster_delay, media: Those of the link underneath.
        retained: See `Link`. Packets are retained at once: what becomes of them is up to the lane.
        is_half_open: Whether nothing passes any more, though neither side knows.
    """

    def __init__(
        self, link: Link, switches: Switches, sent: FaultPlan, received: FaultPlan
    ) -> None:
        self.can_resume = link.can_resume
        self.roster_delay = link.roster_delay
        self.media = link.media
        backend: Backend = concurrency.current()
        self._backend = backend
        self._link = link
        self.retained: RetainedPackets | None = None
        self._sent = Lane(backend, sent, switches, link.send_nowait, link.wait_writable)
        self._received = Lane(
            backend, received, switches, self._arrived_frame, backend.sleep_forever
        )
        # Frames that can be received, and errors of messages without any
        self._arrived: deque[Frame | ValueError] = deque()
        self._something_arrived = backend.event()
        # The end
        self.is_half_open = False
        self._switches = switches
        self._closed_because: str | None = None
        self._cut = backend.event()
        self._far_side_ended = backend.event()
        self.tasks = (self._sent.run, self._received.run, self._pump, self._close_when_cut)

    @property
    def has_ended(self) -> bool:
        """Whether the link has ended on the participant's side."""
        return self._closed_because is not None

    @property
    def queued_bytes(self) -> int:
        return self._sent.bytes_in_flight + self._link.queued_bytes

    def send_nowait(self, frame: Frame, *, flush_follows: bool = False) -> None:  # noqa: ARG002
        if self._closed_because is None:
            self._send(frame, bounded=True)
        elif self.retained is None:
            raise LinkClosedError(self._closed_because)
        else:
            self._retain(frame)

    def resend_nowait(self, frames: Iterable[Frame]) -> None:
        if self._closed_because is not None:
            raise LinkClosedError(self._closed_because)
        for frame in frames:
            self._send(frame, bounded=False)

    def _send(self, frame: Frame, *, bounded: bool) -> None:
        if self.is_half_open:
            self._switches.injected["lost"] += 1
        else:
            self._sent.put(frame, bounded=bounded)
        self._retain(frame)

    def _retain(self, frame: Frame) -> None:
        if self.retained is not None and self.can_resume:
            self.retained.add(*encode_and_count([frame]))

    def flush_nowait(self) -> None:
        """Do nothing: the delay of a packet decides when it leaves."""

    async def wait_sent(self) -> None:
        while self._sent and self._closed_because is None:
            await self._sent.wait_changed()
        await self._link.wait_sent()

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
        if self.is_half_open:
            await self.wait_given_up()
        else:
            await self._link.aclose(reason)

    async def wait_given_up(self) -> None:
        """Wait until the far side has given up a half-open link; no longer than closing takes."""
        if self.is_half_open:
            with self._backend.move_on_after(CLOSE_TIMEOUT, shield=True):
                await self._far_side_ended.wait()

    def half_open(self) -> None:
        """Lose what is in flight, and all that follows, in both directions."""
        self.is_half_open = True
        self._sent.discard()
        self._received.discard()
        self._link.discard_queued()

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
                self._far_side_ended.set()
                while self._received:
                    await self._received.wait_changed()
                if not self.is_half_open:
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
            if self.is_half_open:
                self._switches.injected["lost"] += 1
                return
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
