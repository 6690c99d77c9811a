"""Giving inputs to a target, one at a time, from code that runs no event loop."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Self

import anyio
import trio.testing

from .target import PATIENCE, Target, watching

#: The inputs after which an arena is replaced, in case something piles up in it.
_INPUTS_PER_ARENA: Final = 1_000


class Player:
    """A player of inputs to one target, in a `with` block.

    The event loop of an arena runs in a thread, and stands still while there is no input.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._check = target.load_check() if target.runs_at_once else None
        self._inputs: SimpleQueue[bytes | None] = SimpleQueue()
        self._outcomes: SimpleQueue[BaseException | None] = SimpleQueue()
        self._watching = watching()
        self._thread = threading.Thread(target=self._run_arenas, daemon=True)

    def __enter__(self) -> Self:
        self._raise_logged = self._watching.__enter__()
        if not self._target.runs_at_once:
            self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if not self._target.runs_at_once:
                self._inputs.put(None)
                self._thread.join()
        finally:
            self._watching.__exit__(None, None, None)
        if exc is None and not self._outcomes.empty():
            self._raise_outcome()

    def play(self, data: bytes) -> None:
        """Give an input to the target.

        Raises:
            BaseException: whatever left the target, or `PropertyError`.
        """
        if self._check is not None:
            self._check(data)
            self._raise_logged()
        else:
            self._inputs.put(data)
            self._raise_outcome()

    def _raise_outcome(self) -> None:
        outcome = self._outcomes.get()
        if outcome is not None:
            raise outcome

    def _run_arenas(self) -> None:
        while (data := self._inputs.get()) is not None:
            options = {"clock": trio.testing.MockClock(autojump_threshold=0)}
            try:
                if anyio.run(self._serve, data, backend="trio", backend_options=options):
                    return
            except BaseException as error:
                self._outcomes.put(error)

    async def _serve(self, data: bytes | None) -> bool:
        """Play inputs in one arena; returns whether there will be no more."""
        async with self._target.load_arena()() as attack:
            for _ in range(_INPUTS_PER_ARENA):
                if data is None:
                    return True
                with anyio.fail_after(PATIENCE):
                    await attack(data)
                self._raise_logged()
                self._outcomes.put(None)
                data = self._inputs.get()
        if data is not None:
            self._inputs.put(data)
        return data is None
