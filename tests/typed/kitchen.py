"""The contract of most tests, and a service that fulfils it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import anyio
import attrs

from trio_rpc import CallContext


@attrs.frozen
class Order:
    vegetable: str
    length_mm: int
    thickness_mm: int = 3


@attrs.define
class OutOfStock(Exception):  # noqa: N818
    vegetable: str
    left: int = 0


class Kitchen(Protocol):
    async def slice(self, order: Order, times: int = 1) -> list[int]: ...
    async def rest(self) -> None: ...
    async def caller(self) -> str: ...
    def watch(self, pan: str, count: int = 3) -> AsyncIterator[float]: ...


class KitchenService:
    """A kitchen; `events` are what happened in it."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def slice(self, order: Order, times: int = 1) -> list[int]:
        """Slice a vegetable."""
        if order.vegetable == "leek":
            raise OutOfStock("leek", left=2)
        return [order.length_mm // order.thickness_mm] * times

    async def rest(self) -> None:
        self.events.append("rests")

    async def caller(self, context: CallContext) -> str:
        return context.caller_identity

    async def watch(self, pan: str, count: int = 3) -> AsyncIterator[float]:
        self.events.append("watches")
        try:
            for number in range(count):
                yield number / 2
            if pan == "broken":
                raise OutOfStock("pan")
            if pan == "for ever":
                await anyio.sleep_forever()
        finally:
            self.events.append("watched")

    async def _secret(self) -> str:
        return "secret"

    def helper(self) -> str:
        return "no async method"
