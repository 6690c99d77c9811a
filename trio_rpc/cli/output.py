"""The output of the commands: results on stdout, and progress on stderr if it is a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Final

_BAR_WIDTH: Final = 30
#: Seconds between two drawings of a progress bar.
_REDRAW_INTERVAL: Final = 0.1


def one_line(text: str) -> str:
    """Return `text` as one line, with control characters escaped."""
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def write_line(text: str) -> None:
    """Write a line to stdout in UTF-8, and flush it: a pipe may wait for it."""
    sys.stdout.buffer.write(text.encode("utf-8", "replace") + b"\n")
    sys.stdout.buffer.flush()


def note(text: str) -> None:
    """Write a line about the progress of a command to stderr."""
    print(one_line(text), file=sys.stderr, flush=True)


class ProgressBar:
    """A progress bar on stderr, if that is a terminal; erased at the end."""

    def __init__(self, what: str) -> None:
        self._what = one_line(what)
        self._visible = sys.stderr.isatty()
        self._drawn_at = -_REDRAW_INTERVAL

    def update(self, done: int, total: int) -> None:
        """Draw the bar for the part that is done."""
        now = time.monotonic()
        if not self._visible or (done < total and now - self._drawn_at < _REDRAW_INTERVAL):
            return
        self._drawn_at = now
        filled = _BAR_WIDTH * done // max(total, 1)
        bar = "#" * filled + "." * (_BAR_WIDTH - filled)
        self._write(f"\r\033[K{self._what} [{bar}] {done:,} of {total:,}")

    def erase(self) -> None:
        """Erase the bar, to make way for a line of text."""
        if self._visible:
            self._write("\r\033[K")

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.erase()

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
