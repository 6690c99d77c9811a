"""Requests without a task of their own: they wait for their body, or for a handler slot."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..concurrency import Backend, Nursery
from .deadlines import Deadlines
from .requests import Request


class WaitingRequests:
    """The requests that wait, and one task for the deadlines of all.

    Args:
        on_expired: Called with a request whose deadline has passed.
    """

    def __init__(self, backend: Backend, on_expired: Callable[[Request], None]) -> None:
        self._backend = backend
        self._on_expired = on_expired
        self._deadlines: Deadlines[Request] = Deadlines()
        self._earliest_changed = backend.event()
        self._is_watching = False
        self._nursery: Nursery

    def __iter__(self) -> Iterator[Request]:
        return iter(self._deadlines)

    def __contains__(self, request: Request) -> bool:
        return request in self._deadlines

    def incomplete(self, caller: str | None) -> list[Request]:
        """Return the requests of a caller, or of all, whose body has not come as a whole."""
        return [
            each
            for each in self._deadlines
            if self.is_incomplete(each) and (caller is None or each.caller == caller)
        ]

    def is_incomplete(self, request: Request) -> bool:
        """Whether a request waits for the rest of its body."""
        return request in self and request.body is not None and not request.body.has_ended

    def run_in(self, nursery: Nursery) -> None:
        """Start the task in a nursery from here on."""
        self._nursery = nursery

    def add(self, request: Request) -> None:
        """Add a request, until its deadline."""
        if self._deadlines.add(request, request.deadline):
            self._earliest_changed.set()
        if not self._is_watching:
            self._is_watching = True
            self._nursery.start_soon(self._watch)

    def discard(self, request: Request) -> None:
        """Discard a request, if it is here."""
        self._deadlines.discard(request)

    async def _watch(self) -> None:
        while True:
            for request in self._deadlines.pop_expired(self._backend.current_time()):
                self._on_expired(request)
            if not len(self._deadlines):
                self._is_watching = False
                return
            self._earliest_changed = self._backend.event()
            with self._backend.cancel_scope(deadline=self._deadlines.earliest()):
                await self._earliest_changed.wait()
