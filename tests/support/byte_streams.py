"""A stream of bytes that holds already all that its peer will ever send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

from attrs import define, field

from trio_rpc import concurrency
from trio_rpc.net.byte_streams import READ_BYTES


@define(eq=False)
class FullByteStream:
    """A `ByteStream` whose peer is as fast as can be, and takes everything.

    `receive` never waits, and gives the others no turn.

    Attributes:
        sent: What was written.
    """

    _incoming: bytes
    sent: bytearray = field(factory=bytearray)
    unsent_bytes: int = field(default=0, init=False)

    async def receive(self) -> bytes:
        data, self._incoming = self._incoming[:READ_BYTES], self._incoming[READ_BYTES:]
        return data

    def write(self, data: bytes) -> bool:
        self.sent += data
        return True

    async def drain(self) -> None:
        pass

    def write_eof(self) -> None:
        pass

    def abort(self) -> None:
        pass


@asynccontextmanager
async def bystander(look: Callable[[], int]) -> AsyncIterator[list[int]]:
    """Run another task while the block runs, which wants a turn as often as it can have one.

    Yields what `look` returned at each of its turns.
    """
    backend = concurrency.current()
    seen: list[int] = []
    has_begun = backend.event()

    async def stand_by() -> None:
        while True:
            seen.append(look())
            has_begun.set()
            await backend.checkpoint()

    async with concurrency.open_service_nursery() as nursery:
        nursery.start_soon(stand_by)
        await has_begun.wait()
        yield seen


def largest_step(seen: list[int]) -> int:
    """Return the most that was done between two turns of a bystander."""
    return max(later - earlier for earlier, later in pairwise(seen))
