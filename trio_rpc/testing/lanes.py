"""One direction of a faulty link, in which packets are in flight until they arrive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from heapq import heappop, heappush
from itertools import count

from attrs import define, field

from ..concurrency import Backend
from ..links import Channel, Frame, LinkClosedError, LinkFullError
from ..links.frames import FRAME_OVERHEAD
from .faults import Direction, FaultPlan, PacketFate, count_faults

OnPacket = Callable[[PacketFate], None]


@define(eq=False)
class Switches:
    """The faults on demand of one participant's links.

    Attributes:
        on_packet: Called with the fate of each packet.
        max_lane_bytes: The most bytes in flight in one direction.
        injected: The number of faults of all participants, by kind.
        stalled: Whether frames are held.
        refusal: The HTTP status that refuses new connections, 0 for a network that is down; None
            while they are accepted.
        drop_next: The number of next packets to drop.
    """

    on_packet: OnPacket | None
    max_lane_bytes: int
    injected: Counter[str] = field(factory=Counter[str])
    stalled: bool = False
    refusal: int | None = None
    drop_next: Counter[Direction] = field(factory=Counter[Direction])


class Lane:
    """The frames in flight, by the time at which they arrive.

    Args:
        plan: Decides the fate of each packet.
        deliver: Called with a frame that arrives; raises as `Link.send_nowait`.
        wait_deliverable: Waits until it is worth trying again after a `LinkFullError`.
    """

    def __init__(
        self,
        backend: Backend,
        plan: FaultPlan,
        switches: Switches,
        deliver: Callable[[Frame], None],
        wait_deliverable: Callable[[], Awaitable[None]],
    ) -> None:
        self._backend = backend
        self._plan = plan
        self._switches = switches
        self._deliver = deliver
        self._wait_deliverable = wait_deliverable
        # By arrival, then in the order in which they were put
        self._in_flight: list[tuple[float, int, Frame]] = []
        self._numbers = count()
        self._bytes = 0
        self._last_arrival = 0.0
        self._changed = backend.event()

    def __len__(self) -> int:
        return len(self._in_flight)

    @property
    def bytes_in_flight(self) -> int:
        """The bytes in flight."""
        return self._bytes

    def put(self, frame: Frame, *, bounded: bool = True) -> None:
        """Send a frame; without a delay it is delivered at once.

        Args:
            bounded: Whether the limit of the bytes in flight applies.

        Raises:
            LinkFullError: too much is in flight already.
            LinkClosedError: the link to deliver the frame to is closed.
        """
        limit = self._switches.max_lane_bytes
        if bounded and self._in_flight and self._bytes + _size(frame) > limit:
            if frame.channel is Channel.LOSSY:
                return
            raise LinkFullError(f"{self._bytes:,} bytes are in flight, of {limit:,}")
        now = self._backend.current_time()
        if not self._plan.applies_to(frame.channel):
            self._send_on(frame, now, now)
            return
        fate = self._decide(frame)
        held_back = fate.held_back
        for delay in fate.delays:
            arrival = max(self._last_arrival, now + delay)
            if not held_back:
                self._last_arrival = arrival
            self._send_on(frame, arrival + held_back, now)
            held_back = 0.0

    def discard(self) -> None:
        """Lose everything in flight."""
        self._switches.injected["lost"] += len(self._in_flight)
        self._in_flight.clear()
        self._bytes = 0
        self.wake()

    def wake(self) -> None:
        """Wake the tasks that wait for a change."""
        self._changed.set()
        self._changed = self._backend.event()

    async def wait_changed(self) -> None:
        """Wait until a frame was put, delivered or lost, or the network was restored."""
        await self._changed.wait()

    async def run(self) -> None:
        """Deliver delayed frames, until cancelled."""
        while True:
            await self._wait_arrival()
            _, _, frame = self._in_flight[0]
            try:
                self._deliver(frame)
            except LinkFullError:
                await self._wait_deliverable()
            except LinkClosedError:
                self.discard()
            else:
                heappop(self._in_flight)
                self._bytes -= _size(frame)
                self.wake()

    async def _wait_arrival(self) -> None:
        while True:
            if self._switches.stalled or not self._in_flight:
                await self._changed.wait()
                continue
            arrival, _, _ = self._in_flight[0]
            seconds = arrival - self._backend.current_time()
            if seconds <= 0:
                return
            with self._backend.move_on_after(seconds):
                await self._changed.wait()

    def _decide(self, frame: Frame) -> PacketFate:
        switches = self._switches
        fate = self._plan.decide(frame)
        if switches.drop_next[fate.direction] > 0:
            switches.drop_next[fate.direction] -= 1
            fate = PacketFate(fate.direction, frame, ())
        count_faults(switches.injected, fate)
        if switches.on_packet is not None:
            switches.on_packet(fate)
        return fate

    def _send_on(self, frame: Frame, arrival: float, now: float) -> None:
        overtakes = bool(self._in_flight) and self._in_flight[0][0] <= arrival
        if arrival <= now and not self._switches.stalled and not overtakes:
            self._deliver(frame)
            return
        heappush(self._in_flight, (arrival, next(self._numbers), frame))
        self._bytes += _size(frame)
        self.wake()


def _size(frame: Frame) -> int:
    return len(frame.body) + FRAME_OVERHEAD
