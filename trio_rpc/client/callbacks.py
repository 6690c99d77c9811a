"""Calls of the program's own functions: callbacks of events, and handlers of streams."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

from ..concurrency import Nursery, failure_in
from ..protocol.budgets import Budget, BudgetExceededError
from ..protocol.logs import peer_logger

logger = peer_logger(__name__)


class Callbacks:
    """The functions of the program that one session calls.

    They are called one after another, and async ones get a task each. An exception is logged, and
    affects nothing else.

    Args:
        nursery: Runs the tasks.
        budget: Charged for the bytes that a task holds (B4).

    Attributes:
        budget: The same.
    """

    def __init__(self, nursery: Nursery, budget: Budget) -> None:
        self._nursery = nursery
        self.budget = budget

    def call(
        self,
        what: str,
        function: Callable[..., object],
        *arguments: object,
        peer: str = "",
        size: int = 0,
    ) -> None:
        """Call a function, and start a task if it returns an awaitable.

        Args:
            what: A description of the function, for the log.
            function: The function.
            *arguments: Its arguments.
            peer: The identity of the participant that causes the call.
            size: The bytes that a task holds, to be charged to `peer`; 0 if they are charged
                already. A task for which the budget has no room is not started.
        """
        try:
            result = function(*arguments)
        except BaseException as error:
            _report(what, error)
        else:
            if inspect.isawaitable(result):
                self._start(what, result, peer, size)

    def _start(self, what: str, awaitable: Awaitable[object], peer: str, size: int) -> None:
        try:
            if size:
                self.budget.charge(peer, size)
        except BudgetExceededError as error:
            logger.warning("dropped an event, as %s takes long: %s", what, error)
            if inspect.iscoroutine(awaitable):
                awaitable.close()
        else:
            self._nursery.start_soon(self._finish, what, awaitable, peer, size, name=what)

    async def _finish(self, what: str, awaitable: Awaitable[object], peer: str, size: int) -> None:
        try:
            await awaitable
        except BaseException as error:
            _report(what, error)
        finally:
            if size:
                self.budget.refund(peer, size)


def _report(what: str, error: BaseException) -> None:
    """Log the failure of a function; re-raise exceptions that end the task or the program."""
    failure = failure_in(error)
    if failure is None:
        raise error
    logger.error("%s failed", what, exc_info=failure)
