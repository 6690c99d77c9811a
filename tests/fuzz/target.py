"""Targets: what an input is given to, and what must hold afterwards."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from importlib import import_module
from typing import Any, Final, TypeAlias, cast

from attrs import define, field, frozen

#: Takes an input; what it raises is a failure.
Attack: TypeAlias = Callable[[bytes], Awaitable[None]]
#: A place in which many inputs are tried, one after another; each leaves it as it was.
Arena: TypeAlias = Callable[[], AbstractAsyncContextManager[Attack]]

#: Seconds of virtual time in which an input must have been dealt with.
PATIENCE: Final = 3_600.0
#: Characters of a line that peers cause: some arguments of 300.
_MAX_LINE: Final = 2_000
_FORMATTER: Final = logging.Formatter("%(name)s: %(message)s")


class PropertyError(AssertionError):
    """A property that must hold for every input does not hold."""


@frozen(kw_only=True)
class Target:
    """One entry of the table.

    Attributes:
        name: As the command line and the folder of the corpus call it.
        about: What it is given, and what it checks, in a line.
        where: The module and the name of what takes inputs: of an `Arena`, whose event loop has
            virtual time, or of a function that takes one at once. Imported when it is wanted: to
            instrument everything takes seconds.
        runs_at_once: Whether it is such a function.
        max_bytes: The largest input that is worth trying.
        backends: Where `arena` runs.
    """

    name: str
    about: str
    where: str
    runs_at_once: bool = False
    max_bytes: int = 2_048
    backends: tuple[str, ...] = ("trio", "asyncio")

    def load_check(self) -> Callable[[bytes], None]:
        """Return what takes an input at once."""
        assert self.runs_at_once
        return cast("Callable[[bytes], None]", self._load())

    def load_arena(self) -> Arena:
        """Return what takes inputs in an event loop."""
        assert not self.runs_at_once
        return cast("Arena", self._load())

    def _load(self) -> object:
        module, _, name = self.where.partition(":")
        return getattr(import_module(f".{module}", __package__), name)


def require(condition: object, what: str) -> None:
    """Fail unless something holds."""
    if not condition:
        raise PropertyError(what)


@define(eq=False, slots=False)
class _Problems(logging.Handler):
    """Errors that are logged: what left the code by no other way. And lines that are too much."""

    found: list[str] = field(factory=list)

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def make_record(self, name: str, level: int, *arguments: Any) -> logging.LogRecord:
        """Make a record, and take note of an error: there may be too many for all to be written."""
        record = logging.LogRecord(name, level, *arguments)
        if level >= logging.ERROR and name.startswith("trio_rpc"):
            self.found.append(f"an error was logged: {_FORMATTER.format(record)}")
            record.exc_text = None
        return record

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if len(line) > _MAX_LINE or not line.isprintable():
            self.found.append(f"{record.name} logged {len(line):,} characters: {line[:200]!r}")

    def on_unraisable(self, unraisable: Any) -> None:
        self.found.append(f"{unraisable.err_msg}: {unraisable.exc_value!r} in {unraisable.object}")

    def raise_found(self) -> None:
        # Not before the package may be imported, and instrumented.
        from trio_rpc.protocol.logs import PeerFilter

        for logger in logging.root.manager.loggerDict.values():
            for each in getattr(logger, "filters", ()):
                # Or it would be a matter of time which lines are seen.
                if isinstance(each, PeerFilter):
                    each.reset()
        if self.found:
            what, self.found = "\n".join(self.found), []
            raise PropertyError(what)


@contextmanager
def watching(level: int = logging.ERROR) -> Iterator[Callable[[], None]]:
    """Watch for errors that are logged or that nobody could raise, while the block runs.

    Args:
        level: From which lines are written, of which each has to be bounded and printable (B12).

    Yields:
        Raises `PropertyError` if there was something since it was last called.
    """
    problems = _Problems()
    logger = logging.getLogger("trio_rpc")
    before = logger.level, logger.propagate, sys.unraisablehook, logging.getLogRecordFactory()
    logger.setLevel(level)
    logger.propagate = False
    logger.addHandler(problems)
    sys.unraisablehook = problems.on_unraisable
    logging.setLogRecordFactory(problems.make_record)
    try:
        yield problems.raise_found
    finally:
        logger.removeHandler(problems)
        level, logger.propagate, sys.unraisablehook, factory = before
        logger.setLevel(level)
        logging.setLogRecordFactory(factory)
