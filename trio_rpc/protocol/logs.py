"""Loggers for what peers do: bounded and escaped lines, and not many of them (rule B12)."""

from __future__ import annotations

import logging
import time
import traceback
from typing import Final

#: Lines that a logger writes at once, and how many more each second.
_BURST: Final = 200
_LINES_PER_SECOND: Final = 10.0
#: Characters of one argument of a line, and of one line of a traceback.
_MAX_TEXT: Final = 300
#: Lines of a traceback; the last ones are kept.
_MAX_TRACEBACK_LINES: Final = 60


def peer_logger(name: str) -> logging.Logger:
    """Return the logger of that name, made safe for lines that peers cause.

    The arguments of a line are cut and escaped, so that a peer cannot forge lines or fill a disk.
    Lines beyond a rate are left out, and counted in the next line that is written.
    """
    logger = logging.getLogger(name)
    if not any(isinstance(each, PeerFilter) for each in logger.filters):
        logger.addFilter(PeerFilter())
    return logger


class PeerFilter(logging.Filter):
    """A filter that cuts and escapes the arguments of lines, and limits the rate of lines."""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        """Reset the rate limit."""
        self._left = float(_BURST)
        self._counted_at = time.monotonic()
        self._suppressed = 0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        self._left = min(self._left + (now - self._counted_at) * _LINES_PER_SECOND, _BURST)
        self._counted_at = now
        if self._left < 1:
            self._suppressed += 1
            return False
        self._left -= 1
        if isinstance(record.args, tuple):
            record.args = tuple(map(_bounded, record.args))
        if self._suppressed:
            record.msg = f"{record.msg} (%d lines before it were left out)"
            record.args = (*(record.args or ()), self._suppressed)
            self._suppressed = 0
        if record.exc_info and record.exc_info[1] is not None:
            # The formatter uses this unchanged. An exception's text may have a name or a payload.
            record.exc_text = _bounded_traceback(record.exc_info[1])
        return True


def _bounded(argument: object) -> object:
    if isinstance(argument, int | float | type(None)):
        return argument
    text = argument if isinstance(argument, str) else str(argument)
    cut = text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}… ({len(text):,} characters)"
    return cut if cut.isprintable() else "".join(map(_escaped, cut))


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()


def _bounded_traceback(error: BaseException) -> str:
    lines = "".join(traceback.format_exception(error)).splitlines()
    # Indented, so that no text of an exception looks like a line of the log.
    return "\n".join(f"  {_bounded(line)}" for line in lines[-_MAX_TRACEBACK_LINES:])
